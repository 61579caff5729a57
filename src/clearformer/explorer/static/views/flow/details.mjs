/* One box of the diagram: its step in the walk, its equation, its numbers, and the code that does it. */

import { bars } from "../../bars.mjs";
import { list } from "../../controls.mjs";
import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { heatmap } from "../../heatmap.mjs";
import { sheet } from "../../sheet.mjs";
import { percent, token } from "../../visible.mjs";
import { code } from "./code.mjs";
import { KINDS } from "./kinds.mjs";
import { brief, length, words } from "./words.mjs";

const MOST = 10; /* outputs in a chart */

export class Details {
    constructor(state) {
        this.state = state;
        const button = (name, by) => element("button", { type: "button", click: () => this.#go(by) }, name);
        [this.back, this.next] = [button("← Back", -1), button("Next →", 1)];
        this.where = element("span", { class: "muted" });
        this.said = element("p", { class: "said", "aria-live": "polite" });
        this.title = element("h3");
        this.equation = element("p", { class: "equation" });
        this.numbers = element("dl", { class: "numbers" });
        this.settings = element("div", { class: "controls" });
        this.figure = new Figure("values");
        this.code = element("div", { class: "sources" });
        this.element = element("section", { class: "details", "aria-label": "The chosen box" },
            element("div", { class: "walk", role: "group", "aria-label": "Walk through the model" }, this.back, this.next, this.where),
            this.title, this.said, this.equation, this.numbers, this.settings, this.figure.element, this.code);
    }

    /** `walk`: the boxes in order. `c` as in words.mjs, with `shape` of a box and the numbers `shown` of this one. */
    draw(box, walk, c) {
        const at = walk.indexOf(box), { title, equation, code: lines } = KINDS[box.kind];
        Object.assign(this, { walk, at });
        this.back.disabled = at <= 0;
        this.next.disabled = at === walk.length - 1;
        this.where.textContent = `Step ${at + 1} of ${walk.length}`;
        this.title.replaceChildren(title, " ", element("small", {}, c.shape(box)), box.place ? element("code", {}, box.place) : "");
        this.said.replaceChildren(...words(box, c));
        this.equation.textContent = equation(box, c);
        this.#numbers(box, c);
        this.#heads(box, c);
        this.#picture(box, c);
        this.code.replaceChildren(...lines(box, c).map(code));
    }

    #go(by) {
        const to = this.walk[this.at + by];
        if (to) this.state.set({ box: to.id });
    }

    #numbers(box, c) {
        const { mean, least, most, norm, row, T } = c.found[box.id], plain = ["tokens", "weights", "probabilities"].includes(box.kind);
        const one = T > 1 ? [[["norm of ", token(c.chosen(box))], brief(length(row))]] : [];
        const items = [["mean", brief(mean)], ["range", `${brief(least)} to ${brief(most)}`], ...(plain ? [] : [[T > 1 ? "mean norm" : "norm", brief(norm)], ...one])];
        this.numbers.hidden = this.figure.element.hidden = box.kind === "tokens";
        this.numbers.replaceChildren(...items.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    }

    /** The choice of a head, for what has heads. */
    #heads(box, c) {
        const { heads } = c.found[box.id], names = Array.from({ length: heads }, (_, h) => [String(h), `head ${h}`]);
        const change = (value) => this.state.set({ head: Number(value) * (c.H / heads) });
        this.settings.replaceChildren(...(heads > 1 ? [list("Show", names, String(headOf(box, c)), change).element] : []));
    }

    #picture(box, c) {
        const { heads, T, width } = c.found[box.id], head = headOf(box, c), values = c.shown.data.subarray(head * T * width, (head + 1) * T * width);
        const tokens = c.tokens(box.text), rows = T === tokens.length ? tokens : ["all tokens"], name = `${KINDS[box.kind].title}${heads > 1 ? `, head ${head}` : ""}`;
        const table = (columns) => [["token", ...columns], ...rows.map((each, t) => [each, ...values.subarray(t * width, (t + 1) * width)])];
        if (box.kind === "weights") {
            const keys = c.tokens(box.sub === "cross_attention" ? 0 : box.text), title = `${name}: queries in rows, keys in columns`;
            this.figure.show(title, heatmap({ T, S: width, values }, rows, keys, title).picture, table(keys));
        } else if (["logits", "probabilities"].includes(box.kind)) {
            const of = T > 1 ? [" at ", token(c.chosen(box))] : [];
            this.figure.show([KINDS[box.kind].title, ...of], largestOutputs(box, c), table(Array.from({ length: width }, (_, id) => c.output(id))));
        } else {
            const title = `${name}: ${T > 1 ? `a row for each token, ` : ""}${width} numbers`, chosen = Math.min(c.at[box.text], T - 1);
            this.figure.show(title, sheet({ T, S: width, values }, rows, chosen, title), table(Array.from({ length: width }, (_, i) => String(i))));
        }
    }
}

/** A chart of those of the chosen token. */
function largestOutputs(box, { found, output }) {
    const { row } = found[box.id], best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, MOST), are = box.kind === "logits";
    const most = row[best[0]], least = Math.min(row[best.at(-1)], 0), share = (x) => (are ? (x - least) / (most - least || 1) : x);
    const listed = best.map((id) => ({ name: output(id), p: share(row[id]), said: are ? brief(row[id]) : percent(row[id]) }));
    return bars(listed, listed.map(({ name, said }) => `${name} ${said}`).join(", "));
}

/** H / G heads of queries share one of keys and values. */
const headOf = (box, { found, head, H }) => (found[box.id].heads > 1 ? Math.floor(head / (H / found[box.id].heads)) : 0);
