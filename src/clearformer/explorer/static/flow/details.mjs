/* One box of the diagram: its step in the walk, its equation, its numbers, and the code that does it. */

import { bars } from "../bars.mjs";
import { list } from "../controls.mjs";
import { element } from "../dom.mjs";
import { Figure } from "../figure.mjs";
import { heatmap } from "../heatmap.mjs";
import { sheet } from "../sheet.mjs";
import { percent, token, visible } from "../visible.mjs";
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

    #numbers(box, { found, reading, at }) {
        const { mean, least, most, norm, row } = found[box.id], chosen = token(reading.texts[box.text].tokens[at[box.text]] ?? "");
        const plain = ["tokens", "weights", "probabilities"].includes(box.kind), items = [
            ["mean", brief(mean)], ["range", `${brief(least)} to ${brief(most)}`],
            ...(plain ? [] : [["mean norm", brief(norm)], [["norm of ", chosen], brief(length(row))]]),
        ];
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
        const { found, shown: { data }, reading, at, names } = c, { heads, T, width } = found[box.id], head = headOf(box, c);
        const values = data.subarray(head * T * width, (head + 1) * T * width), { tokens } = reading.texts[box.text], rows = T === tokens.length ? tokens : [""];
        const table = (columns) => [["token", ...columns], ...rows.map((name, t) => [name, ...values.subarray(t * width, (t + 1) * width)])];
        const of = heads > 1 ? `, head ${head}` : "", name = KINDS[box.kind].title, numbered = Array.from({ length: width }, (_, i) => String(i));
        if (box.kind === "weights") {
            const keys = reading.texts[box.sub === "cross_attention" ? 0 : box.text].tokens;
            const map = heatmap({ T, S: width, values }, rows, keys, `${name}${of}: queries in rows, keys in columns`);
            return this.figure.show(`${name}${of}: queries in rows, keys in columns`, map.picture, table(keys));
        }
        if (["logits", "probabilities"].includes(box.kind)) return this.#outputs(box, c, table(names.slice(0, width)));
        return this.figure.show(`${name}${of}: tokens in rows, ${width} numbers each`, sheet({ T, S: width, values }, rows, Math.min(at[box.text], T - 1), `${name}${of}`), table(numbered));
    }

    /** The largest of the chosen token. */
    #outputs(box, { found, names, reading, at }, rows) {
        const { row } = found[box.id], best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, MOST), most = row[best[0]], least = Math.min(row[best.at(-1)], 0);
        const said = (x) => (box.kind === "logits" ? brief(x) : percent(x)), share = (x) => (box.kind === "logits" ? (x - least) / (most - least || 1) : x);
        const listed = best.map((id) => ({ name: names[id] ?? String(id), p: share(row[id]), said: said(row[id]) }));
        const chosen = reading.texts[box.text].tokens[at[box.text]], of = found[box.id].T > 1 ? [" at ", token(chosen)] : [];
        this.figure.show([`${KINDS[box.kind].title}`, ...of], bars(listed, listed.map((each) => `${visible(each.name)} ${each.said}`).join(", ")), rows);
    }
}

/** H / G heads of queries share one of keys and values. */
const headOf = (box, { found, head, H }) => (found[box.id].heads > 1 ? Math.floor(head / (H / found[box.id].heads)) : 0);
