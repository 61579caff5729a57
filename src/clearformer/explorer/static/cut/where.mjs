/* A second text to patch from, and the tokens that are changed. */

import { controls } from "../controls.mjs";
import { element } from "../dom.mjs";
import { MOST } from "../fields.mjs";
import { tokenRow } from "../tokens.mjs";

const ACTS = [["scale", "scales a part"], ["patch", "patches it from the second"]];
const ONLY = ["onlyFirst", "only"]; /* settings of an encoder-decoder's source and target; other models have the last */

export const WHERE = { act: "scale", factor: 0, second: "", only: "", onlyFirst: "" };

export class Where {
    constructor(state, model) {
        Object.assign(this, { state, model });
        this.controls = controls(state, [
            { name: "act", label: "A press", options: ACTS },
            { name: "factor", label: "by a factor (0: off)", min: -4, max: 4, step: 0.25 },
        ]);
        this.area = element("textarea", {
            id: "field-second", rows: 1, maxlength: MOST, spellcheck: "false", dir: "auto", input: () => state.set({ second: this.area.value }),
        });
        this.tokens = element("div", { class: "rows" });
        this.only = element("div", { class: "rows" });
        this.lacking = element("p", { class: "muted" }, "Patches need a second text; type one.");
        this.second = element("div", { class: "field" },
            element("label", { for: this.area.id }, model.family === "transformer" ? "Second source" : "Second text"),
            element("span", { class: "muted" }, "Its values can take the place of the first’s, token by token."), this.area, this.tokens, this.lacking);
        this.details = element("details", { open: Boolean(state.only || state.onlyFirst) }, element("summary", {}, "Only at some tokens"), this.only);
    }

    /** The second text as the model reads it, as `inputs`, with the same masks and the same target; undefined if there is none. */
    async read(reading, signal) {
        const { state, model } = this, { texts } = reading;
        this.controls.show();
        if (this.area.value !== state.second) this.area.value = state.second;
        this.#show(this.only, texts.map((text, i) => {
            const name = ONLY.slice(-texts.length)[i], places = placesOf(state[name]);
            return tokenRow(`Change only these tokens of the ${text.name}`, rowOf(text), {
                pressed: (t) => places.includes(t), press: (t) => state.set({ [name]: flipped(places, t).join(",") }),
            });
        }));
        if (!state.second) this.tokens.replaceChildren();
        if (!state.second) return undefined;
        const values = { text: state.second.slice(0, MOST), target: texts[1] ? " " : "", masked: reading.masked }; /* any target but none */
        const { texts: [second], inputs } = await model.ask("read", values, signal);
        this.tokens.replaceChildren(tokenRow("Tokens of the second text", rowOf(second)));
        return inputs.source ? { ...inputs, target: reading.inputs.target } : inputs;
    }

    /** Of each text the tokens that are changed; none: all. */
    places({ texts }) {
        return ONLY.slice(-texts.length).map((name, i) => placesOf(this.state[name]).filter((t) => t < texts[i].ids.length));
    }

    /** Put rows in the place of others, and keep the focus. */
    #show(host, rows) {
        const focused = [...host.querySelectorAll("button")].indexOf(document.activeElement);
        host.replaceChildren(...rows);
        if (focused >= 0) host.querySelectorAll("button")[focused]?.focus();
    }
}

const rowOf = ({ ids, tokens }) => ids.map((id, i) => ({ id, text: tokens[i], unknown: id === 3 }));
const placesOf = (text) => text.split(",").filter((part) => /^\d+$/.test(part)).map(Number);
const flipped = (places, t) => (places.includes(t) ? places.filter((each) => each !== t) : [...places, t].sort((a, b) => a - b));
