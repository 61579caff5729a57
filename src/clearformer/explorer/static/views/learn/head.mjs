/* The attention map of one head, which is chosen for both runs alike. */

import { optionIn, placeIn } from "../../address.mjs";
import { list } from "../../controls.mjs";
import { element, replace } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { heatmap } from "../../heatmap.mjs";
import { PARTS, namesOf, partOf } from "../attend.mjs";

export class Head {
    constructor(state, model) {
        Object.assign(this, { state, model, figure: new Figure("attention") });
        this.figure.focusable("The attention map; the keyboard scrolls it");
        this.choice = element("div", { class: "controls" });
        this.element = element("div", {}, this.choice, this.figure.element);
    }

    /** `ask`: of a checkpoint, whose name is `when`. */
    async update(reading, ask, when) {
        const { L, H } = this.model.sizes, part = partOf(this.model) ?? optionIn(PARTS, this.state.part);
        const layer = placeIn(L, this.state.layer), head = placeIn(H, this.state.head);
        this.#choose({ part, layer, head });
        const { head: found } = await ask("attention", { part, layer, head, show: "softmax", sort: "layer" });
        const { query, key } = namesOf(reading, part), { T, S, values } = found;
        const title = `Layer ${layer}, head ${head}, ${when}`;
        const note = `T = ${T} queries in rows, S = ${S} keys in columns`;
        const rows = [["query", ...key], ...query.map((name, t) => [name, ...values.subarray(t * S, (t + 1) * S)])];
        this.figure.show({ title, note, picture: heatmap(found, query, key, title).picture, rows });
    }

    #choose({ part, layer, head }) {
        const { L, H } = this.model.sizes;
        const make = (label, name, options, value, read = Number) =>
            list(label, { options }, String(value), (chosen) => this.state.set({ [name]: read(chosen) })).element;
        const numbers = (count) => Array.from({ length: count }, (_, i) => [String(i), String(i)]);
        const parts = partOf(this.model) ? [] : [make("Attention", "part", PARTS, part, String)];
        const layers = make("Layer", "layer", numbers(L), layer), heads = make("Head", "head", numbers(H), head);
        replace(this.choice, ...parts, layers, heads);
    }
}
