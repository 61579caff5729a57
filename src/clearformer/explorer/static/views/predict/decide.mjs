/* The class that a classifier would decide for after each token that it reads. */

import { placeIn } from "../../address.mjs";
import { curves } from "../../curves.mjs";
import { distribution } from "../../distribution.mjs";
import { element, replace } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";
import { printable } from "../../visible.mjs";

const LINES = 5, BARS = 10; /* classes that are drawn */
const LABEL = "Tokens; choose up to where the model reads";

export function decide(state, model) {
    const row = element("div", { class: "rows" }), figures = new Figures("class"), { classes } = model.run;
    const name = (index) => printable(classes[index] ?? String(index));
    return {
        element: element("div", {}, row, figures.element),
        async update({ inputs, texts: [text] }, signal) {
            const found = await model.ask("reading", { inputs }, signal), last = found.length - 1;
            const at = placeIn(last + 1, state.steps, last);
            const ranked = [...found[at].keys()].sort((a, b) => found[at][b] - found[at][a]);
            const read = text.ids.slice(0, last + 1).map((id, i) => ({ id, text: text.tokens[i] }));
            const choosing = { press: (i) => state.set({ steps: i }), pressed: (i) => i === at };
            replace(row, tokenRow(LABEL, read, choosing));
            const top = ranked.slice(0, BARS).map((id) => ({ id, p: found[at][id] }));
            const bars = distribution(`After ${at} of ${last} tokens`, classes, top, ranked[0], printable);
            figures.show([bars, reading(found, ranked.slice(0, LINES), name, at, text.tokens)]);
            return { at, last, words: `${at} of ${last} tokens read: ${name(ranked[0])}` };
        },
    };
}

/** The probabilities of some classes from token to token, as a figure. */
function reading(found, indices, name, at, tokens) {
    const shown = indices.map((index) => ({ name: name(index), values: found.map((p) => p[index]) }));
    const rows = found.map((p, n) => [tokens[n], ...indices.map((index) => p[index])]);
    return {
        title: "While it reads",
        picture: curves(shown, at, tokens, "Probability of the classes after each token"),
        rows: [["token", ...indices.map(name)], ...rows],
    };
}
