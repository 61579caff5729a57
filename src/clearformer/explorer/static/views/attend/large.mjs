/* One head: the map and the lines, which follow each other. */

import { placeIn } from "../../address.mjs";
import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { heatmap } from "../../heatmap.mjs";
import { lines } from "../../lines.mjs";
import { token } from "../../visible.mjs";

const NAMED = 3; /* tokens in a sentence */
const NOWHERE = [-1, -1];
const STEPS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

export class Large {
    constructor(state) {
        this.state = state;
        this.map = new Figure("attention");
        this.links = new Figure("attention-lines");
        this.said = element("p", { class: "readout", "aria-live": "polite" });
        const figures = element("div", { class: "figures" }, this.map.element, this.links.element);
        this.element = element("div", { class: "large" }, this.said, figures);
        this.map.focusable("The head as a map; arrow keys move, Enter holds");
        this.#listen(this.map.picture, this.links.picture);
    }

    #listen(map, links) {
        map.addEventListener("pointermove", (event) => this.#point(...(this.heat.cellAt(event) ?? NOWHERE)));
        map.addEventListener("click", (event) => this.#hold(this.heat.cellAt(event)));
        map.addEventListener("keydown", (event) => this.#key(event));
        links.addEventListener("pointerover", ({ target }) => {
            const { kind, index } = target.closest("[data-kind]")?.dataset ?? {};
            this.#point(kind === "query" ? Number(index) : -1, kind === "key" ? Number(index) : -1);
        });
        for (const picture of [map, links]) picture.addEventListener("pointerleave", () => this.#point(...NOWHERE));
    }

    /** `head`: { title, T, S, values }; `names`: tokens, { query, key }. */
    draw(head, names) {
        const { title, T, S, values } = head, { state, links } = this;
        const focused = links.picture.contains(document.activeElement);
        const held = { query: placeIn(T, state.query, -1), key: placeIn(S, state.key, -1) };
        const heat = heatmap(head, names.query, names.key, `${title}: queries in rows, keys in columns`);
        const press = (kind, index) => state.set({ [kind]: index });
        const drawn = lines(head, names, `${title}: lines from queries to keys`, held, press);
        const row = (name, t) => [name, ...values.subarray(t * S, (t + 1) * S)];
        const rows = [["query", ...names.key], ...names.query.map(row)];
        const note =
            `Rows: T = ${T} queries. Columns: S = ${S} keys. The strongest colour is ${heat.scale.toFixed(2)}; ` +
            "a colour is as strong as the square root of its number.";
        Object.assign(this, { head, names, held, heat, drawn });
        this.map.show({ title, picture: heat.picture, rows, note });
        this.map.picture.append(heat.over);
        links.show({ title: "Lines", picture: drawn.picture, rows, note: "From queries, on the left, to keys." });
        if (focused) drawn.picture.querySelector("[aria-pressed=true]")?.focus();
        this.#point(...NOWHERE);
    }

    /** Mark and name a query and a key, or those that are held. */
    #point(t, s) {
        this.at = [t, s];
        const query = t < 0 ? this.held.query : t, key = s < 0 ? this.held.key : s;
        this.heat.mark(query, key);
        this.drawn.mark(query, key);
        this.said.replaceChildren(...this.#words(query, key));
    }

    #words(t, s) {
        const { head: { S, values }, names: { query, key } } = this, at = (t, s) => values[t * S + s];
        if (t < 0 && s < 0) return ["Point at the map or a token; click to hold it."];
        if (t < 0) return [token(key[s]), " is looked at most by", ...strongest(query, (t) => at(t, s))];
        if (s < 0) return [token(query[t]), " looks most at", ...strongest(key, (s) => at(t, s))];
        return Number.isNaN(at(t, s))
            ? [token(query[t]), " may not look at ", token(key[s])]
            : [token(query[t]), " looks at ", token(key[s]), `: ${at(t, s).toFixed(3)}`];
    }

    /** Hold the query of a cell, or let it go. */
    #hold(cell) {
        if (cell) this.state.set({ query: cell[0] === this.state.query ? -1 : cell[0] });
    }

    #key(event) {
        const [t, s] = this.at.map((i) => Math.max(i, 0)), { T, S } = this.head, step = STEPS[event.key];
        const within = (i, count) => Math.min(Math.max(i, 0), count - 1);
        if (step) this.#point(within(t + step[0], T), within(s + step[1], S));
        else if (event.key === "Enter") this.#hold([t, s]);
        else if (event.key === "Escape") this.state.set({ query: -1, key: -1 });
        else return;
        event.preventDefault();
    }
}

/** The names of the largest values, with them. */
function strongest(names, value) {
    const places = names.map((_, i) => i).filter((i) => !Number.isNaN(value(i)));
    const best = places.sort((a, b) => value(b) - value(a)).slice(0, NAMED);
    return best.flatMap((i, n) => [n ? ", " : " ", token(names[i]), ` ${value(i).toFixed(2)}`]);
}
