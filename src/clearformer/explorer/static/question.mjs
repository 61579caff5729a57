/* Which output a view is about: a place in the text, and a token or a class there. Its settings are `at` and `output`; -1
   is the usual one. */

import { element } from "./dom.mjs";
import { tokenRow } from "./tokens.mjs";
import { counted, percent, token, visible } from "./visible.mjs";

const UNK = 3, MASK = 4, OFFERED = 12; /* outputs in the list */

export const QUESTION = { at: -1, output: -1 };

/* Of each family: the tokens to choose among, what the text itself has at each of them, the usual one, and what to call a
   place. An encoder-decoder's usual token is the one that it is least sure of. */
const FAMILIES = {
    gpt: ({ texts: [text] }) => ({ text, own: text.ids.slice(1), usual: text.ids.length - 1, where: "after " }),
    bert({ texts: [text], inputs: { tokens: read } }) {
        const own = text.ids.map((id, i) => (read[i] === MASK && id !== MASK ? id : undefined));
        return { text, own, usual: read.includes(MASK) ? read.indexOf(MASK) : read.length - 1, where: "in the place of " };
    },
    transformer: ({ written }) => ({ text: written, own: written.ids, where: "in the place of " }),
    classifier: ({ texts: [text] }) => ({ text, own: [], usual: text.ids.length - 1 }),
};

export class Question {
    constructor(state, model) {
        const classifies = model.family === "classifier";
        Object.assign(this, { state, model, classifies, names: classifies ? model.run.classes : model.tokens });
        this.tokens = element("div", { class: "rows" });
        this.list = element("select", { change: () => state.set({ output: Number(this.list.value) }) });
        const label = element("label", { class: "setting" }, element("span", {}, classifies ? "Class" : "Output"), this.list);
        this.element = element("div", { class: "rows question" }, this.tokens, label);
    }

    /** Show the tokens and outputs. Returns { text, own, at, row, output, place, names, name }: `row` of the logits is that
        of token `at`, `place` says where it is, and name(id) is an output's, of all `names`. */
    async ask(reading, signal) {
        const { model, state } = this, family = FAMILIES[model.family](reading), { text, own, where } = family;
        const ask = async (positions) => (await model.ask("outputs", { inputs: reading.inputs, targets: own, positions, top: OFFERED }, signal)).rows;
        const given = Number.isInteger(state.at) && state.at >= 0 && state.at < text.ids.length;
        const at = given ? state.at : family.usual ?? leastSure(await ask([])), row = this.classifies ? 0 : at, rows = await ask([row]);
        const output = this.#offer(rows[row], own[row]);
        this.#show(family, rows, at);
        const place = where ? [where, token(text.tokens[at])] : [];
        return { ...family, at, row, output, place, names: this.names, name: (id) => this.#name(id) };
    }

    #name(id) {
        return this.names[id] ?? String(id);
    }

    /** Fill the list of outputs; the one that is chosen. */
    #offer({ top, target }, own) {
        const { C, V } = this.model.sizes, { output: given } = this.state, usual = own ?? top[0].id;
        const chosen = Number.isInteger(given) && given >= 0 && given < (this.classifies ? C : V) ? given : usual;
        const share = new Map([target, ...top].filter((each) => each).map(({ id, p }) => [id, ` ${percent(p)}`]));
        const others = [...new Set([...share.keys(), chosen])].filter((id) => id !== usual), why = own === undefined ? "the likeliest" : "which the text has";
        const text = (id) => `${visible(this.#name(id))}${share.get(id) ?? ""}`, option = (value, words) => element("option", { value }, words);
        this.list.replaceChildren(option(-1, `${text(usual)}, ${why}`), ...others.map((id) => option(id, text(id))));
        this.list.value = chosen === usual ? -1 : chosen;
        return chosen;
    }

    #show({ text, own }, rows, at) {
        const { family } = this.model, shift = family === "gpt" ? 1 : 0, title = family === "transformer" ? "Written" : "Tokens";
        const p = (i) => (["gpt", "transformer"].includes(family) && own[i - shift] !== undefined ? rows[i - shift].target.p : undefined);
        const tokens = text.ids.map((id, i) => ({ id, text: text.tokens[i], unknown: id === UNK, p: p(i) }));
        const pressing = this.classifies ? {} : { pressed: (i) => i === at, press: (i) => this.state.set({ at: i, output: -1 }) };
        const focused = this.tokens.contains(document.activeElement);
        this.tokens.replaceChildren(element("h3", {}, title, " ", element("small", {}, counted(text.ids.length, "token"))),
            tokenRow(this.classifies ? title : `${title}; choose a place`, tokens, pressing));
        if (focused) this.tokens.querySelector("[aria-pressed=true]")?.focus();
    }
}

/** The token of the text that the model gave the least probability. */
const leastSure = (rows) => rows.reduce((least, { target }, i) => (target.p < rows[least].target.p ? i : least), 0);
