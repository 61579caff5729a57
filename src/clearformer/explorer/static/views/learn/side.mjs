/* One run at one of its checkpoints: what it says, what a head looks at, and how likely the answer was at all of them. */

import { optionIn } from "../../address.mjs";
import { curves } from "../../curves.mjs";
import { list } from "../../controls.mjs";
import { element } from "../../dom.mjs";
import { Figure, Figures } from "../../figure.mjs";
import { heatmap } from "../../heatmap.mjs";
import { slider } from "../../slider.mjs";
import { printable, visible } from "../../visible.mjs";
import { namesOf, PARTS, partOf } from "../attend.mjs";
import { SHOW } from "../type.mjs";

const FOLLOWED = 4, MOST = 24; /* outputs whose probability is drawn, tokens that are written */
const MASK = 4;

export class Side {
    /** `setting`: of the state, which checkpoint is shown. */
    constructor(state, model, setting) {
        Object.assign(this, { state, model, setting, checkpoints: model.run.checkpoints });
        this.slider = slider(state, setting, "Checkpoint");
        this.rows = element("div", { class: "rows" });
        this.written = element("p", { class: "prose" });
        this.says = new Figures("outputs");
        this.history = new Figure("checkpoints");
        this.choice = element("div", { class: "controls" });
        this.head = new Figure("attention");
        this.element = element("section", { class: "side", "aria-label": model.run.name }, element("h3", {}, printable(model.run.name)), this.slider.element, this.written, this.rows,
            element("div", { class: "evidence" }, element("div", {}, this.history.element, this.says.element), element("div", {}, this.choice, this.head.element)));
    }

    /** The number of the checkpoint that is shown. */
    get at() {
        const at = this.state[this.setting], last = this.checkpoints.length - 1;
        return at < 0 || at > last ? last : at;
    }

    get names() {
        return this.checkpoints.map(({ step }) => (step ? `step ${step.toLocaleString("en")}` : "untrained"));
    }

    /** `reading`: of the trained model. */
    async update(reading, signal) {
        const { model, state, at } = this, checkpoint = model.at(this.checkpoints[at]), { inputs } = reading;
        this.slider.show(this.names, at);
        this.slider.element.hidden = this.checkpoints.length < 2;
        const ask = (task, values) => checkpoint.ask(task, { inputs, ...values }, signal);
        const says = await SHOW[model.family]({ state, model, reading, ask: (values) => ask("outputs", values) });
        const focused = [...this.rows.querySelectorAll("button")].indexOf(document.activeElement);
        this.rows.replaceChildren(...says.rows);
        this.rows.querySelectorAll("button")[focused]?.focus();
        this.says.show(says.figures);
        await this.#write(ask);
        await this.#attend(reading, ask);
        await this.#past(reading, signal);
    }

    /** What it writes by itself. */
    async #write(ask) {
        this.written.hidden = !["gpt", "transformer"].includes(this.model.family);
        if (this.written.hidden) return;
        const text = await ask("continuation", { most: MOST });
        this.written.replaceChildren(element("span", { class: "muted" }, this.model.family === "gpt" ? "It goes on: " : "It writes: "), element("bdi", {}, printable(text).replaceAll("\n", "⏎")));
    }

    async #attend(reading, ask) {
        const { state, model } = this, { L, H } = model.sizes, only = partOf(model), parts = only ? [] : PARTS, part = only ?? optionIn(PARTS, state.part);
        const layer = Math.min(state.layer, L - 1), head = Math.min(state.head, H - 1), numbers = (count) => Array.from({ length: count }, (_, i) => [String(i), String(i)]);
        const choose = (label, name, options, value, read = Number) => list(label, options, String(value), (chosen) => state.set({ [name]: read(chosen) })).element;
        const focused = [...this.choice.querySelectorAll("select")].indexOf(document.activeElement);
        this.choice.replaceChildren(...(parts.length > 1 ? [choose("Attention", "part", parts, part, String)] : []), choose("Layer", "layer", numbers(L), layer), choose("Head", "head", numbers(H), head));
        this.choice.querySelectorAll("select")[focused]?.focus();
        const { head: found } = await ask("attention", { part, layer, head, show: "softmax", hideFirst: false, sort: "layer" });
        const { query, key } = namesOf(reading, part), title = `Layer ${layer}, head ${head} at ${this.names[this.at]}`, { T, S, values } = found;
        const rows = [["query", ...key], ...query.map((name, t) => [name, ...values.subarray(t * S, (t + 1) * S)])];
        this.head.show(title, heatmap(found, query, key, `${title}: queries in rows, keys in columns`).picture, rows, `T = ${T} queries in rows, S = ${S} keys in columns`);
    }

    /** At all checkpoints: the trained model's likeliest output, and those that were likeliest on the way. */
    async #past(reading, signal) {
        const { model, checkpoints, names } = this, { inputs } = reading, at = placeOf(reading, this.state.at, model.family), key = JSON.stringify([inputs, at]);
        this.history.element.hidden = checkpoints.length < 2 || at < 0;
        if (this.history.element.hidden) return;
        if (this.past?.key !== key) {
            const found = [];
            for (const each of checkpoints) found.push(await model.at(each).ask("probabilities", { inputs, at }, signal));
            this.past = { key, found };
        }
        const { found } = this.past, classifies = model.family === "classifier", outputs = classifies ? model.run.classes : model.tokens, most = (id) => Math.max(...found.map((p) => p[id]));
        const best = found.map((p) => p.indexOf(p.reduce((a, b) => Math.max(a, b)))), [last] = best.slice(-1);
        const ids = [last, ...[...new Set(best)].filter((id) => id !== last).sort((a, b) => most(b) - most(a)).slice(0, FOLLOWED - 1)];
        const shown = ids.map((id) => ({ name: (classifies ? printable : visible)(outputs[id] ?? String(id)), values: found.map((p) => p[id]) })), label = shown.map(({ name }) => name).join(", ");
        const table = [["checkpoint", ...shown.map(({ name }) => name)], ...names.map((name, i) => [name, ...shown.map(({ values }) => values[i])])];
        this.history.show(["How likely it was: ", element("bdi", { class: "token-text" }, shown[0].name)], curves(shown, this.at, checkpoints.map(({ step }) => String(step)), `Probabilities by checkpoint: ${label}`), table,
            shown.length > 1 ? "Below: what was likelier at earlier checkpoints." : "The trained model’s likeliest output, at all checkpoints.");
    }
}

/** The position whose output is followed, as Type has it; -1: there is none. */
function placeOf({ texts, inputs }, at, family) {
    if (family === "bert") return inputs.tokens.indexOf(MASK);
    const last = texts.at(-1).ids.length - 1;
    return at < 0 || at > last ? last : at;
}
