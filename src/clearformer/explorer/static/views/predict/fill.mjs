/* Hidden tokens, filled in one after the other, the surest first. */

import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";

const MASK = 4;

export function fill(state, model) {
    const rows = element("div", { class: "rows" }), figures = new Figures("hidden-token");
    return {
        element: element("div", {}, rows, figures.element),
        async update({ inputs, texts: [text] }, signal) {
            const hidden = inputs.tokens.flatMap((id, i) => (id === MASK ? [i] : [])), wanted = Math.min(Math.max(state.steps, 0), hidden.length);
            const ids = [...inputs.tokens], filled = new Map();
            let open = await outputsOf(model, ids, signal);
            while (filled.size < wanted) {
                const [surest] = open.sort((a, b) => b.best.p - a.best.p);
                filled.set(surest.place, surest.best);
                ids[surest.place] = surest.best.id;
                open = await outputsOf(model, ids, signal);
            }
            const tokens = ids.map((id, i) => ({ id, text: filled.has(i) || id === MASK ? model.tokens[id] : text.tokens[i], p: filled.get(i)?.p }));
            rows.replaceChildren(tokenRow("Text", tokens), element("p", { class: "muted" }, hidden.length
                ? "Each step fills in the hidden token that the model is surest of, and reads the text again. A line below it is its probability."
                : "Hide tokens first: choose them in the view Type, or type <mask>."));
            open.sort((a, b) => a.place - b.place);
            figures.show(open.map(({ place, top, best }) => distribution([`Token ${place + 1}`], model.tokens, top, best.id)));
            return { at: filled.size, last: hidden.length, words: `${filled.size} of ${hidden.length} filled in` };
        },
    };
}

/** Of each hidden token { place, top, best }; special tokens are not filled in. */
async function outputsOf(model, ids, signal) {
    const positions = ids.flatMap((id, i) => (id === MASK ? [i] : []));
    if (!positions.length) return [];
    const { rows } = await model.ask("outputs", { inputs: { tokens: ids }, positions, top: 10 + MASK + 1 }, signal);
    return positions.map((place) => {
        const top = rows[place].top.filter(({ id }) => id > MASK).slice(0, 10);
        return { place, top, best: top[0] };
    });
}
