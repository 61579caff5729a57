/* Hidden tokens, filled in one after the other, the surest first. */

import { placeIn } from "../../address.mjs";
import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";

const HINT = "Each step fills in the hidden token that the model is surest of, and reads the text again. " +
    "A line below it is its probability among the tokens that may stand there.";
const NONE = "Hide tokens first: choose them in the view Type, or type <mask>.";

export function fill(state, model) {
    const rows = element("div", { class: "rows" }), figures = new Figures("hidden-token");
    return {
        element: element("div", {}, rows, figures.element),
        async update({ inputs, texts: [text] }, signal) {
            const { mask } = model.special, ids = [...inputs.tokens], tokens = [...text.tokens], filled = new Map();
            const count = ids.filter((id) => id === mask).length;
            const ask = () => model.ask("fill", { ids, tokens }, signal);
            let open = await ask();
            while (filled.size < placeIn(count + 1, state.steps)) {
                const { place, top: [best] } = open.reduce((a, b) => (b.top[0].p > a.top[0].p ? b : a));
                filled.set(place, best.p);
                [ids[place], tokens[place]] = [best.id, model.tokens[best.id]];
                open = await ask();
            }
            const shownAs = (id, i) => (id === mask ? model.tokens[id] : tokens[i]);
            const shown = ids.map((id, i) => ({ id, text: shownAs(id, i), p: filled.get(i) }));
            rows.replaceChildren(tokenRow("Text", shown), element("p", { class: "muted" }, count ? HINT : NONE));
            figures.show(open.map(({ place, top }) =>
                distribution(`Token ${place + 1}`, model.tokens, top, top[0].id)));
            return { at: filled.size, last: count, words: `${filled.size} of ${count} filled in` };
        },
    };
}
