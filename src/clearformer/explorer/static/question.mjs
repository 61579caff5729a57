/* Which output a view is about: a place in the text, and a token or a class there. Its settings are `at` and `output`; -1
   is the usual one. */

import { element } from "./dom.mjs";
import { tokenRow } from "./tokens.mjs";
import { counted, percent, token, visible } from "./visible.mjs";

const UNK = 3, MASK = 4, OFFERED = 12; /* outputs in the list */

export const QUESTION = { at: -1, output: -1 };

/* Of each family: the tokens to choose among, what the text itself has at each of them, and what to call a place. */
const FAMILIES = {
    gpt: ({ texts: [text] }) => ({ text, own: text.ids.slice(1), where: "after " }),
    bert({ texts: [text], masked }) {
        const hidden = (id, i) => (id !== MASK && masked.includes(i) ? id : undefined);
        return { text, own: text.ids.map(hidden), where: "in the place of " };
    },
    transformer: ({ written }) => ({ text: written, own: written.ids, where: "in the place of " }),
    classifier: ({ texts: [text] }) => ({ text, own: [] }),
};

export class Question {
    constructor(state, model) {
        const classifies = model.family === "classifier";
        Object.assign(this, { state, model, classifies, names: classifies ? model.run.classes : model.tokens });
        this.tokens = element("div", { class: "rows" });
        this.list = element("select", { change: () => state.set({ output: Number(this.list.value) }) });
        const label = element("label", { class: "setting" }, element("span", {}, this.classifies ? "Class" : "Output"), this.list);
        this.element = element("div", { class: "rows question" }, this.tokens, label);
    }

    /** Show the tokens and outputs. Returns { text, own, at, row, output, place, name }: `row` of the logits is that of
        token `at`, `place` says where it is, and name(id) is an output’s, one of
        `names`. */
    async ask(reading, signal) {
        const { model, state } = this, family = FAMILIES[model.family](reading), last = family.text.ids.length - 1;
        const ask = (values) => model.ask("outputs", { inputs: reading.inputs, targets: family.own, ...values }, signal);
        let at = Number.isInteger(state.at) && state.at <= last ? state.at : -1;
        if (at < 0) at = model.family === "bert" ? reading.inputs.tokens.indexOf(MASK) : model.family === "transformer" ? leastSure((await ask({ positions: [] })).rows) : last;
        if (at < 0) at = last;
        const row = this.classifies ? 0 : at, { rows } = await ask({ positions: [row], top: OFFERED });
        const output = this.#outputs(rows[row], family.own[row]);
        this.#show(family, rows, at);
        const place = family.where ? [family.where, token(family.text.tokens[at])] : [];
        return { ...family, at, row, output, place, names: this.names, name: (id) => this.name(id) };
    }

    name(id) {
        return this.names[id] ?? String(id);
    }

    /** Fill the list; the output that is chosen. */
    #outputs({ top, target }, own) {
        const { sizes } = this.model, usual = own ?? top[0].id, given = this.state.output, chosen = Number.isInteger(given) && given < (this.classifies ? sizes.C : sizes.V) ? given : -1;
        const share = new Map([target, ...top].filter((each) => each).map(({ id, p }) => [id, ` ${percent(p)}`])), ids = [...new Set([...share.keys(), ...(chosen < 0 ? [] : [chosen])])];
        const options = ids.filter((id) => id !== usual).map((id) => [id, `${visible(this.name(id))}${share.get(id) ?? ""}`]);
        const first = [-1, `${visible(this.name(usual))}${share.get(usual)}, ${own === undefined ? "the likeliest" : "which the text has"}`];
        this.list.replaceChildren(...[first, ...options].map(([value, text]) => element("option", { value }, text)));
        this.list.value = chosen === usual ? -1 : chosen;
        return chosen < 0 ? usual : chosen;
    }

    #show({ text, own }, rows, at) {
        const shift = this.model.family === "gpt" ? 1 : 0, meter = ["gpt", "transformer"].includes(this.model.family);
        const tokens = text.ids.map((id, i) => ({ id, text: text.tokens[i], unknown: id === UNK, p: meter && own[i - shift] !== undefined ? rows[i - shift].target.p : undefined }));
        const pressing = this.classifies ? {} : { pressed: (i) => i === at, press: (i) => this.state.set({ at: i, output: -1 }) };
        const focused = this.tokens.contains(document.activeElement), title = this.model.family === "transformer" ? "Written" : "Tokens";
        this.tokens.replaceChildren(element("h3", {}, title, " ", element("small", {}, counted(text.ids.length, "token"))),
            tokenRow(this.classifies ? title : `${title}; choose a place`, tokens, pressing));
        if (focused) this.tokens.querySelector("[aria-pressed=true]")?.focus();
    }
}

/** The token of the text that the model gave the least probability. */
const leastSure = (rows) => rows.reduce((least, { target }, i) => (target.p < rows[least].target.p ? i : least), 0);
