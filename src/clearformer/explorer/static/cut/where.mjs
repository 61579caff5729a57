/* How a press changes a part, the second text to patch from, and the tokens that are changed. */

import { controls } from "../controls.mjs";
import { element, replace } from "../dom.mjs";
import { MOST, readable } from "../fields.mjs";
import { tokenRow } from "../tokens.mjs";

const ACTS = [["scale", "scales a part"], ["patch", "patches it from the second"]];
const CONTROLS = [
    { name: "act", label: "A press", options: ACTS },
    { name: "factor", label: "by a factor (0: off)", min: -4, max: 4, step: 0.25 },
];
const ONLY = ["onlyFirst", "only"]; /* settings of an encoder-decoder's source and target; other models have the last */

export const WHERE = { act: "scale", factor: 0, second: "", only: "", onlyFirst: "" };

export class Where {
    constructor(state, model) {
        Object.assign(this, { state, model, controls: controls(state, CONTROLS) });
        const input = () => state.set({ second: this.area.value });
        const about = { rows: 1, maxlength: MOST, spellcheck: "false", autocomplete: "off", dir: "auto" };
        this.area = element("textarea", { id: "field-second", ...about, input });
        this.tokens = element("div", { class: "rows" });
        this.lacking = element("p", { class: "muted" }, "Patches need a second text; type one.");
        const title = model.family === "transformer" ? "Second source" : "Second text";
        this.second = element("div", { class: "field" }, element("label", { for: this.area.id }, title),
            element("span", { class: "muted" }, "Its values can take the place of the first’s, token by token."),
            this.area, this.tokens, this.lacking);
        this.only = element("div", { class: "rows" });
        const open = Boolean(state.only || state.onlyFirst);
        this.details = element("details", { open }, element("summary", {}, "Only at some tokens"), this.only);
    }

    /** Show the settings. Returns the second text as `inputs`, with the same masks and the same target as the first;
        undefined if there is none. */
    async read({ texts, inputs: first, masked }, signal) {
        const { state, model } = this;
        this.controls.show();
        if (this.area.value !== state.second) this.area.value = state.second;
        this.#show(texts);
        if (!state.second) {
            this.tokens.replaceChildren();
            return undefined;
        }
        const values = { text: readable(state.second), target: texts[1] ? " " : "", masked }; /* any target */
        const { texts: [second], inputs } = await model.ask("read", values, signal);
        this.tokens.replaceChildren(tokenRow("Tokens of the second text", rowOf(second, model)));
        return inputs.source ? { ...inputs, target: first.target } : inputs;
    }

    /** Of each text the tokens that are changed; none: all. */
    places({ texts }) {
        return namesOf(texts).map((name, i) => numbersIn(this.state[name]).filter((t) => t < texts[i].ids.length));
    }

    /** The tokens of the texts, to choose among. */
    #show(texts) {
        replace(this.only, ...namesOf(texts).map((name, i) => {
            const chosen = numbersIn(this.state[name]);
            const press = (t) => this.state.set({ [name]: flipped(chosen, t).join(",") });
            const label = `Change only these tokens of the ${texts[i].name}`;
            return tokenRow(label, rowOf(texts[i], this.model), { pressed: (t) => chosen.includes(t), press });
        }));
    }
}

const namesOf = (texts) => ONLY.slice(-texts.length);
const rowOf = ({ ids, tokens }, { special: { unk } }) =>
    ids.map((id, i) => ({ id, text: tokens[i], unknown: id === unk }));
const numbersIn = (text) => text.split(",").filter((part) => /^\d+$/.test(part)).map(Number);
const flipped = (numbers, t) =>
    numbers.includes(t) ? numbers.filter((each) => each !== t) : [...numbers, t].sort((a, b) => a - b);
