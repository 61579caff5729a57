/* A button for every part of the model, which changes it. */

import { element, roving } from "../dom.mjs";
import { stacksOf } from "../stacks.mjs";
import { KINDS, effect, find, kindsOf, numberOf, parse, title, toggled, write } from "./changes.mjs";

const NEURON = "n", LABELS = { h: "Heads", a: "Attention", c: "Cross heads", b: "Cross", f: "Feed-forward", s: "Stream" };

export class Switches {
    constructor(state, model) {
        Object.assign(this, { state, model, stacks: stacksOf(model.family, model.sizes) });
        this.tables = this.stacks.map((stack) => element("table", { class: "switches" }));
        this.list = element("ul", { class: "changes", "aria-label": "Changes" });
        this.element = element("div", { class: "rows" },
            this.stacks.map((stack, i) => element("div", { class: "scroll" }, this.tables[i])), this.#neuron(), this.list);
    }

    show() {
        const changes = parse(this.state.cuts, this.model);
        this.stacks.forEach((stack, i) => this.#table(this.tables[i], stack, changes));
        const undo = changes.map((change) => this.#undo(`${title(change, this.model)} ${effect(change)}`, changes.filter((each) => each !== change)));
        if (changes.length > 1) undo.push(this.#undo("all", []));
        this.list.replaceChildren(...undo.map((button) => element("li", {}, button)));
    }

    #undo(name, rest) {
        const attributes = { type: "button", "aria-label": `Undo ${name}`, click: () => this.state.set({ cuts: write(rest) }) };
        return element("button", attributes, name, element("span", { "aria-hidden": "true" }, " ✕"));
    }

    /** Rows are layers, columns the parts of a layer. */
    #table(table, stack, changes) {
        const { model } = this, { L, H } = model.sizes, kinds = kindsOf(model.family, stack).filter((kind) => kind !== NEURON);
        const columns = kinds.flatMap((kind) => (KINDS[kind].axis ? Array.from({ length: H }, (_, number) => ({ kind, number })) : [{ kind }]));
        const focused = [...table.querySelectorAll("button")].indexOf(document.activeElement);
        const button = (part) => {
            const change = find(changes, part), name = title(part, model);
            const names = { "aria-label": change ? `${name}, ${effect(change)}` : name, title: name };
            return element("td", {}, element("button", {
                type: "button", "aria-pressed": String(Boolean(change)), ...names, click: () => this.#press(part),
            }, change ? (change.patch ? "⇐" : `×${change.factor}`) : part.number ?? "on"));
        };
        table.replaceChildren(
            element("thead", {}, element("tr", {}, element("th", { scope: "col" }, this.stacks.length > 1 ? stack.title : "Layer"),
                kinds.map((kind) => element("th", { scope: "colgroup", colspan: KINDS[kind].axis ? H : 1 }, LABELS[kind])))),
            element("tbody", {}, Array.from({ length: L }, (_, layer) => element("tr", {}, element("th", { scope: "row" }, String(layer)),
                columns.map((column) => button({ stack, layer, ...column }))))));
        roving(table, { columns: columns.length });
        if (focused >= 0) table.querySelectorAll("button")[focused].focus();
    }

    /** Change a part as the settings say. */
    #press(part) {
        const { state, model } = this, how = state.act === "patch" ? { patch: true } : { factor: state.factor };
        state.set({ cuts: write(toggled(parse(state.cuts, model), { ...part, ...how })) });
    }

    /** Fields that name one neuron. */
    #neuron() {
        const { model } = this, { L } = model.sizes, most = numberOf(NEURON, model.sizes) - 1;
        const layers = this.stacks.flatMap(({ title: stack }, i) => Array.from({ length: L }, (_, layer) =>
            [`${i} ${layer}`, this.stacks.length > 1 ? `${stack.toLowerCase()} ${layer}` : String(layer)]));
        const layer = element("select", {}, layers.map(([value, text]) => element("option", { value }, text)));
        const number = element("input", { type: "number", min: 0, max: most, step: 1, value: 0 });
        return element("form", {
            class: "controls", "aria-label": "A neuron", submit: (event) => {
                event.preventDefault();
                const [i, l] = layer.value.split(" ").map(Number);
                this.#press({ stack: this.stacks[i], layer: l, kind: NEURON, number: Number(number.value) });
            },
        }, element("label", { class: "setting" }, element("span", {}, `Neuron (0 to ${most})`), number),
        element("label", { class: "setting" }, element("span", {}, "of layer"), layer), element("button", {}, "Change"));
    }
}
