/* The class that a classifier would decide for after each token that it reads. */

import { curves } from "../../curves.mjs";
import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";
import { printable } from "../../visible.mjs";

const MOST = 5; /* classes that are drawn */

export function decide(state, model) {
    const rows = element("div", { class: "rows" }), figures = new Figures("class"), { classes } = model.run;
    const name = (index) => printable(classes[index] ?? String(index));
    return {
        element: element("div", {}, rows, figures.element),
        async update({ inputs, texts: [text] }, signal) {
            const found = await model.ask("reading", { inputs }, signal), last = found.length - 1, at = state.steps < 0 ? last : Math.min(state.steps, last);
            const ranked = [...found[at].keys()].sort((a, b) => found[at][b] - found[at][a]);
            const tokens = text.ids.slice(0, last + 1).map((id, i) => ({ id, text: text.tokens[i], hint: i > at ? "not read yet" : "read" }));
            rows.replaceChildren(tokenRow("Tokens; choose up to where the model reads", tokens, { press: (i) => state.set({ steps: i }), pressed: (i) => i === at }));
            const shown = ranked.slice(0, MOST).map((index) => ({ name: name(index), values: found.map((p) => p[index]) }));
            figures.show([
                distribution([`After ${at} of ${last} tokens`], classes, ranked.slice(0, 2 * MOST).map((id) => ({ id, p: found[at][id] })), ranked[0], printable),
                {
                    title: ["While it reads"],
                    picture: curves(shown, at, text.tokens, "Probability of the classes after each token"),
                    rows: [["token", ...shown.map((each) => each.name)], ...found.map((_, n) => [text.tokens[n], ...shown.map(({ values }) => values[n])])],
                },
            ]);
            return { at, last, words: `${at} of ${last} tokens read: ${name(ranked[0])}` };
        },
    };
}
