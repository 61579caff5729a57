/* What "=" looks at: a map over a and b for each head and operand, and the numbers of the pair that is pointed at. */

import { element } from "../../dom.mjs";
import { Figures } from "../../figure.mjs";
import { FIRST_NUMBER } from "../../special.mjs";
import { mapPair } from "./pair.mjs";

const NOTE = "At each a, downwards, and b, across: the weight of “=” in the first layer on a and on b; the rest " +
    "is on “=” itself. Point at a pair, or move by arrow keys; a click or Enter types it.";
const STEPS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };

export class Operands {
    constructor(state, { grokking: { numbers } }) {
        Object.assign(this, { state, numbers });
        this.said = element("p", { class: "readout heads-said", "aria-live": "polite" });
        this.figures = new Figures("operands", "Maps over a and b; arrow keys move, Enter types the pair");
        this.figures.element.classList.add("operands");
        this.element = element("div", {}, element("p", { class: "muted" }, NOTE), this.said, this.figures.element);
        const { element: host } = this.figures;
        host.addEventListener("pointermove", (event) => this.#point(this.#pairAt(event)));
        host.addEventListener("pointerleave", () => this.#point());
        host.addEventListener("click", (event) => this.#type(this.#pairAt(event)));
        host.addEventListener("keydown", (event) => event.target.closest(".picture") && this.#key(event));
    }

    /** `heads`: what the task "operands" found at the checkpoint `when`. */
    show({ texts: [{ ids }] }, heads, when) {
        const { numbers } = this, n = numbers.length, typed = [0, 1].map((i) => numbers.indexOf(ids[i] - FIRST_NUMBER));
        this.typed = typed.map((place) => Math.max(place, 0));
        this.heads = heads;
        this.maps = heads.map(({ a, b }, h) => mapPair({ n, a, b }, `Head ${h}: weights of = on a and on b, ${when}`));
        this.figures.show(this.maps.map(({ picture }, h) => ({
            title: [`Head ${h}`, element("small", {}, ` ${when}`)], picture, rows: this.#rows(heads[h]),
        })));
        this.#point();
    }

    #rows(head) {
        const { numbers } = this, n = numbers.length;
        const row = (on) => (a, i) => [`on ${on}, a = ${a}`, ...head[on].subarray(i * n, (i + 1) * n)];
        return [["weight", ...numbers.map((b) => `b = ${b}`)], ...["a", "b"].flatMap((on) => numbers.map(row(on)))];
    }

    #pairAt({ clientX, clientY }) {
        for (const map of this.maps) {
            const pair = map.pairAt(clientX, clientY);
            if (pair) return pair;
        }
        return undefined;
    }

    /** Mark a pair of places, or the one that is typed, and say what each head looks at. */
    #point(pair = this.typed) {
        const { numbers, heads } = this, n = numbers.length, [i, j] = (this.at = pair), at = i * n + j;
        this.maps.forEach((map) => map.mark(i, j));
        const head = ({ a, b }, h) => element("span", {}, element("small", {}, `head ${h} `),
            `${a[at].toFixed(2)} · ${b[at].toFixed(2)} · ${Math.max(1 - a[at] - b[at], 0).toFixed(2)}`);
        this.said.replaceChildren(element("b", {}, `a = ${numbers[i]}, b = ${numbers[j]}`),
            element("span", { class: "muted" }, "on a · on b · on ="), ...heads.map(head));
    }

    #type(pair) {
        if (pair) this.state.set({ text: `${this.numbers[pair[0]]} ${this.numbers[pair[1]]} =` });
    }

    #key(event) {
        const step = STEPS[event.key], within = (i) => Math.min(Math.max(i, 0), this.numbers.length - 1);
        if (step) this.#point(this.at.map((place, i) => within(place + step[i])));
        else if (event.key === "Enter") this.#type(this.at);
        else return;
        event.preventDefault();
    }
}
