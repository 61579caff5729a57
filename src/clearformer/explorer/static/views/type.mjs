/* Type: the tokens of what is typed, and what the model says about them. */

import { distribution } from "../distribution.mjs";
import { element } from "../dom.mjs";
import { Figures } from "../figure.mjs";
import { tokenRow } from "../tokens.mjs";
import { counted, printable, token } from "../visible.mjs";

const UNK = 3, MASK = 4, CLASSES = 20; /* classes are shown at most */

export const view = {
    name: "type",
    title: "Type",
    answers: "What does the model read, and what does it say?",
    suits: () => true,
    settings: { at: -1 }, /* the token whose outputs are shown; -1: the last */
    render(host, state, model) {
        const rows = element("div", { class: "rows" }), figures = new Figures("outputs");
        host.append(rows, figures.element);
        return async (reading, signal) => {
            const shown = await SHOW[model.family]({ state, model, reading, ask: (values) => model.ask("outputs", { inputs: reading.inputs, ...values }, signal) });
            const focused = [...rows.querySelectorAll("button")].indexOf(document.activeElement);
            rows.replaceChildren(...shown.rows);
            if (focused >= 0) rows.querySelectorAll("button")[focused]?.focus();
            figures.show(shown.figures);
        };
    },
};

const SHOW = {
    async gpt({ state, model, reading, ask }) {
        const [text] = reading.texts, last = text.ids.length - 1, at = placeOf(state.at, last);
        const { rows } = await ask({ positions: [at], targets: text.ids.slice(1) });
        const tokens = withText(text).map((each, i) => ({ ...each, p: rows[i - 1]?.target.p }));
        return {
            rows: [heading("Tokens", text), tokenRow("Tokens", tokens, pressing(state, at, last)),
                element("p", { class: "muted" }, "A line below a token is the probability that the model gave it, having read those before it.")],
            figures: [distribution(["Next, after ", token(text.tokens[at])], model.tokens, rows[at].top, text.ids[at + 1])],
        };
    },

    async bert({ state, model, reading, ask }) {
        const [text] = reading.texts, { tokens: read } = reading.inputs, masked = read.flatMap((id, i) => (id === MASK ? [i] : []));
        const { rows } = masked.length ? await ask({ positions: masked, targets: text.ids }) : { rows: [] };
        const tokens = withText(text).map((each, i) => (masked.includes(i) ? { ...each, hint: "hidden from the model" } : each));
        const toggle = (i) => state.set({ masked: (reading.masked.includes(i) ? reading.masked.filter((j) => j !== i) : [...reading.masked, i]).join(",") });
        return {
            rows: [heading("Tokens", text), tokenRow("Tokens; choose those to hide", tokens, { press: toggle, pressed: (i) => masked.includes(i) }),
                element("p", { class: "muted" }, masked.length ? "Hidden tokens are read as <mask>." : "Choose a token to hide it: the model says what it may have been.")],
            figures: masked.map((i) => distribution(text.ids[i] === MASK ? [`Token ${i + 1}`] : ["Instead of ", token(text.tokens[i])], model.tokens, rows[i].top, text.ids[i])),
        };
    },

    async classifier({ model, reading, ask }) {
        const [text] = reading.texts, { rows: [{ top }] } = await ask({ top: CLASSES });
        return { rows: [heading("Tokens", text), tokenRow("Tokens", withText(text))], figures: [distribution(["Class"], model.run.classes, top, undefined, printable)] };
    },

    async transformer({ state, model, reading, ask }) {
        const [source] = reading.texts, { written } = reading, last = written.ids.length - 1, at = placeOf(state.at, last);
        const { rows } = await ask({ positions: [at], targets: written.ids });
        const tokens = withText(written).map((each, i) => ({ ...each, p: rows[i].target.p }));
        const logP = tokens.reduce((sum, { p }) => sum + Math.log(p), 0);
        return {
            rows: [heading("Source", source), tokenRow("Source", withText(source)),
                heading("Written", written, `, log probability ${logP.toFixed(2)}`), tokenRow("Written", tokens, pressing(state, at, last)),
                element("p", { class: "muted" }, "A line below a token is its probability, given the source and the tokens before it.")],
            figures: [distribution(["In the place of ", token(written.tokens[at])], model.tokens, rows[at].top, written.ids[at])],
        };
    },
};

const placeOf = (at, last) => (at < 0 || at > last ? last : at);
const pressing = (state, at, last) => ({ pressed: (i) => i === at, press: (i) => state.set({ at: i === last ? -1 : i }) });
const withText = ({ ids, tokens }) => ids.map((id, i) => ({ id, text: tokens[i], unknown: id === UNK }));

function heading(name, { ids }, more = "") {
    const unknown = ids.filter((id) => id === UNK).length, lacks = unknown ? `, ${unknown} not in the vocabulary, read as <unk>` : "";
    return element("h3", {}, name, " ", element("small", {}, counted(ids.length, "token") + lacks + more));
}
