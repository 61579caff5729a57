/* Type: the tokens of what is typed, and what the model says about them. */

import { placeIn } from "../address.mjs";
import { distribution } from "../distribution.mjs";
import { element, replace } from "../dom.mjs";
import { Figures } from "../figure.mjs";
import { brief } from "../numbers.mjs";
import { tokenRow } from "../tokens.mjs";
import { counted, printable, token } from "../visible.mjs";

const CLASSES = 20; /* the most classes that are shown */
const HINTS = {
    gpt: "A line below a token is the probability that the model gave it, having read those before it.",
    bert: "Choose a token to hide it: the model says what it may have been.",
    transformer: "A line below a token is its probability, given the source and the tokens before it.",
};

export const view = {
    name: "type",
    title: "Type",
    answers: "What does the model read, and what does it say?",
    settings: { at: -1 }, /* the token whose outputs are shown; -1: the last */
    render(host, state, model) {
        const rows = element("div", { class: "rows" }), figures = new Figures("outputs");
        host.append(rows, figures.element);
        return async (reading, signal) => {
            const ask = (values) => model.ask("outputs", { inputs: reading.inputs, ...values }, signal);
            const shown = await SHOW[model.family]({ state, model, reading, ask });
            replace(rows, ...shown.rows, element("p", { class: "muted" }, HINTS[model.family] ?? ""));
            figures.show(shown.figures);
        };
    },
};

/** Of each family, { rows, figures }; `ask` computes outputs. */
export const SHOW = {
    async gpt({ state, model, reading: { texts: [text] }, ask }) {
        const last = text.ids.length - 1, at = placeIn(last + 1, state.at, last);
        const { rows } = await ask({ positions: [at], targets: text.ids.slice(1) });
        const tokens = tokensOf(model, text, (i) => ({ p: rows[i - 1]?.target.p }));
        const title = ["Next, after ", token(text.tokens[at])];
        return {
            rows: [heading(model, "Tokens", text), tokenRow("Tokens", tokens, choosing(state, at, last))],
            figures: [distribution(title, model.tokens, rows[at].top, text.ids[at + 1])],
        };
    },

    async bert({ state, model, reading: { inputs, texts: [text], masked }, ask }) {
        const { mask } = model.special, hidden = inputs.tokens.flatMap((id, i) => (id === mask ? [i] : []));
        const { rows } = hidden.length ? await ask({ positions: hidden, targets: text.ids }) : {};
        const press = (i) => {
            const others = masked.filter((j) => j !== i);
            state.set({ masked: (others.length < masked.length ? others : [...others, i]).join(",") });
        };
        const tokens = tokensOf(model, text, (i) => ({ hint: hidden.includes(i) && "hidden from the model" }));
        const title = (i) => (text.ids[i] === mask ? [`Token ${i + 1}`] : ["Instead of ", token(text.tokens[i])]);
        const row = tokenRow("Tokens; choose those to hide", tokens, { press, pressed: (i) => hidden.includes(i) });
        return {
            rows: [heading(model, "Tokens", text), row],
            figures: hidden.map((i) => distribution(title(i), model.tokens, rows[i].top, text.ids[i])),
        };
    },

    async classifier({ model, reading: { texts: [text] }, ask }) {
        const { rows: [{ top }] } = await ask({ top: CLASSES });
        return {
            rows: [heading(model, "Tokens", text), tokenRow("Tokens", tokensOf(model, text))],
            figures: [distribution(["Class"], model.run.classes, top, undefined, printable)],
        };
    },

    async transformer({ state, model, reading: { texts: [source], written }, ask }) {
        const last = written.ids.length - 1, at = placeIn(last + 1, state.at, last);
        const { rows } = await ask({ positions: [at], targets: written.ids });
        const logP = rows.reduce((sum, { target }) => sum + Math.log(target.p), 0);
        const tokens = tokensOf(model, written, (i) => ({ p: rows[i].target.p }));
        const title = ["In the place of ", token(written.tokens[at])];
        return {
            rows: [
                heading(model, "Source", source), tokenRow("Source", tokensOf(model, source)),
                heading(model, "Written", written, `, log probability ${brief(logP)}`),
                tokenRow("Written", tokens, choosing(state, at, last)),
            ],
            figures: [distribution(title, model.tokens, rows[at].top, written.ids[at])],
        };
    },
};

const choosing = (state, at, last) => ({
    pressed: (i) => i === at,
    press: (i) => state.set({ at: i === last ? -1 : i }),
});

const tokensOf = ({ special: { unk } }, { ids, tokens }, more = () => ({})) =>
    ids.map((id, i) => ({ id, text: tokens[i], unknown: id === unk, ...more(i) }));

function heading({ special: { unk }, tokens }, name, { ids }, more = "") {
    const unknown = ids.filter((id) => id === unk).length;
    const lacks = unknown ? `, ${unknown} not in the vocabulary, read as ${tokens[unk]}` : "";
    return element("h3", {}, name, " ", element("small", {}, counted(ids.length, "token") + lacks + more));
}
