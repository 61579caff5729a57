/* What may stand in the place of hidden tokens, as clearformer/generation/fill.py has it: no special token, no part of
   a character, and with a space before it where the hidden token has one. */

import { likeliest, rowOf, softmax } from "./probability.mjs";

/** Of each hidden token of `ids` the `top` likeliest that are permitted: { place, top: [{ id, p }] }, best first; p is
    the probability among those. `tokens` are texts, those of hidden tokens with the space that they include. */
export function fill({ model, vocabulary: { texts, ordinary, special } }, { ids, tokens, top = 10 }) {
    const all = model.run({ tokens: ids });
    return ids.flatMap((id, place) => {
        if (id !== special.mask) return [];
        const spaced = ordinary.filter((each) => hasSpace(texts[each]) === hasSpace(tokens[place]));
        const allowed = spaced.length ? spaced : ordinary, logits = rowOf(all, place);
        const best = likeliest(softmax(allowed.map((each) => logits[each])), top);
        return [{ place, top: best.map(({ id: index, p }) => ({ id: allowed[index], p })) }];
    });
}

const hasSpace = (token) => token.length > 1 && token.startsWith(" ");
