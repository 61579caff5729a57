/* Attend: what each head looks at. */

import { controls } from "../controls.mjs";
import { element, roving } from "../dom.mjs";
import { Figure } from "../figure.mjs";
import { heatmap, mapCanvas } from "../heatmap.mjs";
import { lines } from "../lines.mjs";
import { token, visible } from "../visible.mjs";

const PARTS = [["cross", "target to source"], ["encoder", "encoder, within the source"], ["decoder", "decoder, within the target"]];
const SHOW = [["softmax", "softmax: the weights"], ["scores", "scores before the softmax"], ["values", "weights × length of the value"]];
const SORTS = {
    layer: "layer",
    entropy: "entropy, lowest first",
    previous: "previous token",
    first: "first token",
    diagonal: "diagonal",
    induction: "induction, on random tokens",
    monotone: "monotone",
};

export const view = {
    name: "attend",
    title: "Attend",
    answers: "What does each head look at?",
    suits: () => true,
    settings: { part: "cross", sort: "layer", show: "softmax", hideFirst: false, layer: 0, head: 0, query: -1, key: -1 },
    render(host, state, model) {
        const both = model.family === "transformer", only = model.sizes.causalBody || model.family === "gpt" ? "decoder" : "encoder";
        const partOf = () => (both ? state.part : only), sorts = (part) => Object.entries(SORTS).filter(([name]) =>
            !((name === "induction" && only !== "decoder") || (name === "previous" && part === "cross") || (name === "monotone" && !both)));
        const settings = controls(state, [
            ...(both ? [{ name: "part", label: "Attention", options: PARTS }] : []),
            { name: "sort", label: "Heads by", options: sorts(partOf()) },
            { name: "show", label: "Show", options: SHOW },
            { name: "hideFirst", label: "Hide the first token, and share its weight among the others" },
        ]);
        const heads = element("div", { class: "heads" }), large = new Large(state);
        host.append(settings.element, element("div", { class: "attend" }, heads, large.element));
        return async (reading, signal) => {
            settings.show();
            const { show, hideFirst, sort } = state, part = partOf(), { L, H } = model.sizes;
            const layer = Math.min(state.layer, L - 1), head = Math.min(state.head, H - 1);
            const found = await model.ask("attention", { inputs: reading.inputs, part, layer, head, show, hideFirst, sort }, signal);
            drawHeads(heads, found.heads, state, { layer, head });
            large.draw({ ...found.head, title: `Layer ${layer}, head ${head}` }, namesOf(reading, part));
        };
    },
};

/** The tokens of queries and keys. */
function namesOf({ texts, written }, part) {
    const read = (part === "decoder" ? texts.at(-1) : texts[0]).tokens;
    return { query: part === "cross" ? written.tokens : read, key: read };
}

/** A small map of each head, in layers or sorted by a score. */
function drawHeads(host, heads, state, chosen) {
    const focused = host.contains(document.activeElement), { sort } = state;
    const sorted = sort === "layer" ? heads : [...heads].sort((a, b) => (b.scores[sort] - a.scores[sort]) * (sort === "entropy" ? -1 : 1));
    host.style.setProperty("--heads", sort === "layer" ? heads.filter(({ layer }) => layer === 0).length : "auto-fill");
    host.replaceChildren(...sorted.map(({ layer, head, scores, map }) => {
        const score = sort === "layer" ? "" : scores[sort].toFixed(2), pressed = layer === chosen.layer && head === chosen.head;
        return element("button", {
            type: "button", "aria-pressed": String(pressed), "aria-label": `Layer ${layer}, head ${head}${score && `, ${SORTS[sort]} ${score}`}`,
            title: Object.entries(scores).map(([name, value]) => `${name} ${value.toFixed(2)}`).join("\n"), click: () => state.set({ layer, head }),
        }, mapCanvas(map), element("small", {}, `L${layer} H${head}`, score && element("b", {}, ` ${score}`)));
    }));
    roving(host);
    if (focused) host.querySelector("[aria-pressed=true]")?.focus();
}

/** One head: the heat map and the lines, which follow each other. */
class Large {
    constructor(state) {
        this.state = state;
        this.map = new Figure("attention");
        this.links = new Figure("attention-lines");
        this.said = element("p", { class: "readout", "aria-live": "polite" });
        this.element = element("div", { class: "large" }, this.said, element("div", { class: "figures" }, this.map.element, this.links.element));
        this.map.focusable("The head as a map; arrow keys move, Enter holds");
        this.map.picture.addEventListener("pointermove", (event) => this.#hover(...(this.heat.cellAt(event) ?? [-1, -1])));
        this.map.picture.addEventListener("pointerleave", () => this.#hover(-1, -1));
        this.map.picture.addEventListener("click", (event) => this.#hold(this.heat.cellAt(event)));
        this.map.picture.addEventListener("keydown", (event) => this.#key(event));
        this.links.picture.addEventListener("pointerover", ({ target }) => {
            const { kind, index } = target.closest("[data-kind]")?.dataset ?? {};
            this.#hover(kind === "query" ? Number(index) : -1, kind === "key" ? Number(index) : -1);
        });
        this.links.picture.addEventListener("pointerleave", () => this.#hover(-1, -1));
    }

    draw(head, names) {
        Object.assign(this, { head, names, at: [-1, -1] });
        const { T, S, values, title } = head, query = this.state.query < T ? this.state.query : -1, key = this.state.key < S ? this.state.key : -1;
        this.locked = { query, key };
        this.heat = heatmap(head, names.query, names.key, `${title}: queries in rows, keys in columns`);
        this.drawn = lines(head, names, `${title}: lines from queries to keys`, this.locked, (kind, index) => this.state.set({ [kind]: index }));
        const rows = [["query", ...names.key], ...names.query.map((name, t) => [name, ...values.subarray(t * S, (t + 1) * S)])];
        this.map.show([title], this.heat.picture, rows, `Rows: T = ${T} queries. Columns: S = ${S} keys. The strongest colour is ${this.heat.scale.toFixed(2)}.`);
        this.map.picture.append(this.heat.over);
        this.links.show(["Lines"], this.drawn.picture, rows, "From queries, on the left, to keys.");
        this.#hover(-1, -1);
    }

    #hover(t, s) {
        this.at = [t, s];
        const [query, key] = [t < 0 ? this.locked.query : t, s < 0 ? this.locked.key : s];
        this.heat.mark(query, key);
        this.drawn.mark(query, key);
        this.said.replaceChildren(...this.#words(query, key));
    }

    #words(t, s) {
        const { S, values } = this.head, { query, key } = this.names, name = (text) => token(text);
        if (t < 0 && s < 0) return ["Point at the map or a token; click to hold it."];
        if (s >= 0 && t >= 0) return [name(query[t]), " looks at ", name(key[s]), `: ${Number.isNaN(values[t * S + s]) ? "it may not" : values[t * S + s].toFixed(3)}`];
        const [names, value] = t >= 0 ? [key, (i) => values[t * S + i]] : [query, (i) => values[i * S + s]];
        const best = names.map((_, i) => i).filter((i) => !Number.isNaN(value(i))).sort((a, b) => value(b) - value(a)).slice(0, 3);
        const listed = best.flatMap((i, n) => [n ? ", " : " ", name(names[i]), ` ${value(i).toFixed(2)}`]);
        return t >= 0 ? [name(query[t]), " looks most at", ...listed] : [name(key[s]), " is looked at most by", ...listed];
    }

    /** A click on a cell holds its query, a second one lets it go. */
    #hold(cell) {
        if (cell) this.state.set({ query: cell[0] === this.state.query ? -1 : cell[0] });
    }

    #key(event) {
        const [t, s] = this.at.map((i) => Math.max(i, 0)), { T, S } = this.head;
        const to = { ArrowDown: [t + 1, s], ArrowUp: [t - 1, s], ArrowRight: [t, s + 1], ArrowLeft: [t, s - 1] }[event.key];
        if (to) this.#hover(Math.min(Math.max(to[0], 0), T - 1), Math.min(Math.max(to[1], 0), S - 1));
        else if (event.key === "Enter") this.#hold([t, s]);
        else if (event.key === "Escape") this.state.set({ query: -1, key: -1 });
        else return;
        event.preventDefault();
    }
}
