/* Which output a view is about: a place in the text, and a token or class there. The settings are `at` and `output`; -1
   is the usual one. */

import { isPlace } from "./address.mjs";
import { element } from "./dom.mjs";
import { tokenRow } from "./tokens.mjs";
import { counted, percent, token, visible } from "./visible.mjs";

const OFFERED = 12; /* outputs in the list */

export const QUESTION = { at: -1, output: -1 };

/* Of each family: the tokens to choose among, what the text itself has at each of them, the usual one, and what to call
   a place. An encoder-decoder's usual token is the one that it is least sure of. */
const FAMILIES = {
    gpt: ({ texts: [text] }) => ({ text, own: text.ids.slice(1), usual: text.ids.length - 1, where: "after " }),
    bert({ texts: [text], inputs: { tokens: read } }, { mask }) {
        const own = text.ids.map((id, i) => (read[i] === mask && id !== mask ? id : undefined));
        const usual = read.includes(mask) ? read.indexOf(mask) : read.length - 1;
        return { text, own, usual, where: "in the place of " };
    },
    transformer: ({ written }) => ({ text: written, own: written.ids, where: "in the place of " }),
    classifier: ({ texts: [text] }) => ({ text, own: [], usual: text.ids.length - 1 }),
};

export class Question {
    constructor(state, model) {
        const classifies = model.family === "classifier", names = classifies ? model.run.classes : model.tokens;
        Object.assign(this, { state, model, classifies, names });
        this.tokens = element("div", { class: "rows" });
        this.list = element("select", { change: () => state.set({ output: Number(this.list.value) }) });
        const what = element("span", {}, classifies ? "Class" : "Output");
        const label = element("label", { class: "setting" }, what, this.list);
        this.element = element("div", { class: "rows question" }, this.tokens, label);
    }

    /** Show the tokens and outputs. Returns { text, own, at, row, output, place, names, name }: `row` of the logits is
        that of token `at`, `place` says where it is, and name(id) is an output's, of all `names`. */
    async ask(reading, signal) {
        const { model, state, names } = this, family = FAMILIES[model.family](reading, model.special);
        const { text, own, usual, where } = family;
        const ask = async (positions) => {
            const values = { inputs: reading.inputs, targets: own, positions, top: OFFERED };
            return (await model.ask("outputs", values, signal)).rows;
        };
        const at = isPlace(state.at, text.ids.length) ? state.at : usual ?? leastSure(await ask([]));
        const row = this.classifies ? 0 : at, rows = await ask([row]), output = this.#offer(rows[row], own[row]);
        this.#show(family, rows, at);
        const place = where ? [where, token(text.tokens[at])] : [];
        return { ...family, at, row, output, place, names, name: (id) => this.#name(id) };
    }

    #name(id) {
        return this.names[id] ?? String(id);
    }

    /** Fill the list of outputs; the one that is chosen. */
    #offer({ top, target }, own) {
        const { C, V } = this.model.sizes, { output: given } = this.state, usual = own ?? top[0].id;
        const chosen = isPlace(given, this.classifies ? C : V) ? given : usual;
        const known = [target, ...top].filter((each) => each);
        const share = new Map(known.map(({ id, p }) => [id, percent(p)]));
        const others = [...new Set([...share.keys(), chosen])].filter((id) => id !== usual);
        const why = own === undefined ? "the likeliest" : "which the text has";
        const text = (id) => `${visible(this.#name(id))} ${share.get(id) ?? ""}`;
        const option = (value, words) => element("option", { value }, words);
        this.list.replaceChildren(option(-1, `${text(usual)}, ${why}`), ...others.map((id) => option(id, text(id))));
        this.list.value = chosen === usual ? -1 : chosen;
        return chosen;
    }

    #show({ text, own }, rows, at) {
        const { family, special: { unk } } = this.model, title = family === "transformer" ? "Written" : "Tokens";
        const shift = { gpt: 1, transformer: 0 }[family]; /* from a token to the row of its probability */
        const p = (i) => (own[i - shift] === undefined ? undefined : rows[i - shift].target.p);
        const tokens = text.ids.map((id, i) => ({ id, text: text.tokens[i], unknown: id === unk, p: p(i) }));
        const press = (i) => this.state.set({ at: i, output: -1 });
        const row = this.classifies
            ? tokenRow(title, tokens)
            : tokenRow(`${title}; choose a place`, tokens, { pressed: (i) => i === at, press });
        const focused = this.tokens.contains(document.activeElement);
        const count = element("small", {}, counted(text.ids.length, "token"));
        this.tokens.replaceChildren(element("h3", {}, title, " ", count), row);
        if (focused) this.tokens.querySelector("[aria-pressed=true]")?.focus();
    }
}

/** The token of the text that the model gave the least probability. */
const leastSure = (rows) => rows.reduce((least, { target }, i) => (target.p < rows[least].target.p ? i : least), 0);
