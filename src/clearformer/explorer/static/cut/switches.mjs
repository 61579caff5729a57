/* A button for every part of the model, which changes it. */

import { element, replace, roving } from "../dom.mjs";
import { stacksOf } from "../stacks.mjs";
import { KINDS, effect, find, kindsOf, numberOf, parse, title, toggled, write } from "./changes.mjs";

const NEURON = "n";
const LABELS = { h: "Heads", a: "Attention", c: "Cross heads", b: "Cross", f: "Feed-forward", s: "Stream" };

export class Switches {
    constructor(state, model) {
        Object.assign(this, { state, model, stacks: stacksOf(model.family, model.sizes) });
        this.tables = this.stacks.map(({ title }) => element("table", { class: "switches", "aria-label": title }));
        this.list = element("ul", { class: "changes", "aria-label": "Changes" });
        const scrolled = this.tables.map((table) => element("div", { class: "scroll" }, table));
        this.element = element("div", { class: "rows" }, scrolled, this.#neuron(), this.list);
    }

    show() {
        const changes = parse(this.state.cuts, this.model);
        const others = (change) => changes.filter((each) => each !== change);
        this.stacks.forEach((stack, i) => this.#table(this.tables[i], stack, changes));
        const undo = changes.map((each) => this.#undo(`${title(each, this.model)} ${effect(each)}`, others(each)));
        if (changes.length > 1) undo.push(this.#undo("all", []));
        this.list.replaceChildren(...undo.map((button) => element("li", {}, button)));
    }

    #undo(name, rest) {
        const click = () => this.state.set({ cuts: write(rest) });
        return element("button", { type: "button", "aria-label": `Undo ${name}`, click }, `${name} ✕`);
    }

    /** Rows are layers, columns the parts of a layer. */
    #table(table, stack, changes) {
        const { family, sizes } = this.model, kinds = kindsOf(family, stack).filter((kind) => kind !== NEURON);
        const numbers = (kind) => Array.from({ length: numberOf(kind, sizes) ?? 1 }, (_, i) => i);
        const partsOf = (kind) => numbers(kind).map((number) => ({ kind, ...(KINDS[kind].axis && { number }) }));
        const columns = kinds.flatMap(partsOf);
        const button = (part) => element("td", {}, this.#button(part, find(changes, part)));
        const row = (layer) => columns.map((column) => button({ stack, layer, ...column }));
        const head = (kind) => element("th", { scope: "colgroup", colspan: numbers(kind).length }, LABELS[kind]);
        const corner = element("th", { scope: "col" }, this.stacks.length > 1 ? stack.title : "Layer");
        const rows = Array.from({ length: sizes.L }, (_, layer) =>
            element("tr", {}, element("th", { scope: "row" }, String(layer)), row(layer)));
        const first = element("tr", {}, corner, kinds.map(head));
        replace(table, element("thead", {}, first), element("tbody", {}, rows));
        roving(table, { columns: columns.length });
    }

    /** Of a part, with its change, if there is one. */
    #button(part, change) {
        const name = title(part, this.model), label = change ? `${name}, ${effect(change)}` : name;
        const about = { title: name, "aria-label": label, "aria-pressed": String(Boolean(change)) };
        const changed = change && (change.patch ? "⇐" : `×${change.factor}`), click = () => this.#press(part);
        return element("button", { type: "button", ...about, click }, changed ?? part.number ?? "on");
    }

    /** Change a part as the settings say. */
    #press(part) {
        const { state, model } = this, how = state.act === "patch" ? { patch: true } : { factor: state.factor };
        state.set({ cuts: write(toggled(parse(state.cuts, model), { ...part, ...how })) });
    }

    /** Fields that name one neuron. */
    #neuron() {
        const { stacks, model: { sizes } } = this, most = numberOf(NEURON, sizes) - 1;
        const layers = Array.from({ length: sizes.L }, (_, layer) => layer);
        const places = stacks.flatMap((stack) => layers.map((layer) => ({ stack, layer })));
        const named = ({ stack, layer }) => (stacks.length > 1 ? `${stack.title.toLowerCase()} ${layer}` : layer);
        const layer = element("select", {}, places.map((place, i) => element("option", { value: i }, named(place))));
        const number = element("input", { type: "number", min: 0, max: most, step: 1, value: 0 });
        const labelled = (text, field) => element("label", { class: "setting" }, element("span", {}, text), field);
        const submit = (event) => {
            event.preventDefault();
            this.#press({ ...places[layer.value], kind: NEURON, number: Number(number.value) });
        };
        return element("form", { class: "controls", "aria-label": "A neuron", submit },
            labelled(`Neuron (0 to ${most})`, number), labelled("of layer", layer), element("button", {}, "Change"));
    }
}
