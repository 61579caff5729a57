/* Hidden tokens, filled in one after the other, the surest first. */

import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";

const MASK = 4, TOP = 10;
const HINT = "Each step fills in the hidden token that the model is surest of, and reads the text again. " +
    "A line below it is its probability.";
const NONE = "Hide tokens first: choose them in the view Type, or type <mask>.";

export function fill(state, model) {
    const rows = element("div", { class: "rows" }), figures = new Figures("hidden-token");
    return {
        element: element("div", {}, rows, figures.element),
        async update({ inputs, texts: [text] }, signal) {
            const ids = [...inputs.tokens], count = ids.filter((id) => id === MASK).length, filled = new Map();
            let open = await outputsOf(model, ids, signal);
            while (filled.size < Math.min(state.steps, count)) {
                const { place, top: [best] } = open.reduce((a, b) => (b.top[0].p > a.top[0].p ? b : a));
                filled.set(place, best);
                ids[place] = best.id;
                open = await outputsOf(model, ids, signal);
            }
            const read = (id, i) => (filled.has(i) || id === MASK ? model.tokens[id] : text.tokens[i]);
            const tokens = ids.map((id, i) => ({ id, text: read(id, i), p: filled.get(i)?.p }));
            rows.replaceChildren(tokenRow("Text", tokens), element("p", { class: "muted" }, count ? HINT : NONE));
            const shown = ({ place, top }) => distribution(`Token ${place + 1}`, model.tokens, top, top[0].id);
            figures.show(open.map(shown));
            return { at: filled.size, last: count, words: `${filled.size} of ${count} filled in` };
        },
    };
}

/** Of each hidden token { place, top }; special tokens are not filled in. */
async function outputsOf(model, ids, signal) {
    const positions = ids.flatMap((id, i) => (id === MASK ? [i] : [])), values = { inputs: { tokens: ids }, positions };
    if (!positions.length) return [];
    const { rows } = await model.ask("outputs", { ...values, top: TOP + MASK + 1 }, signal);
    return positions.map((place) => ({ place, top: rows[place].top.filter(({ id }) => id > MASK).slice(0, TOP) }));
}
