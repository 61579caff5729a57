/* One box of the diagram: its step in the walk, its equation, its numbers, and the code that computes it. */

import { bars } from "../../bars.mjs";
import { list } from "../../controls.mjs";
import { element, replace } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { heatmap } from "../../heatmap.mjs";
import { sheet } from "../../sheet.mjs";
import { percent, token } from "../../visible.mjs";
import { code } from "./code.mjs";
import { KINDS, titleOf, wordsOf } from "./kinds.mjs";
import { brief, length } from "../../numbers.mjs";

const MOST = 10; /* outputs in a chart */
const PLAIN = ["tokens", "weights", "probabilities"]; /* kinds of numbers that are no vectors */
const range = (n) => Array.from({ length: n }, (_, i) => i);

export class Details {
    constructor(state) {
        this.state = state;
        const button = (words, by) => element("button", { type: "button", click: () => this.#go(by) }, words);
        [this.back, this.next] = [button("← Back", -1), button("Next →", 1)];
        this.step = element("span", { class: "muted" });
        this.title = element("h3");
        this.words = element("p", { class: "said", "aria-live": "polite" });
        this.equation = element("p", { class: "equation" });
        this.numbers = element("dl", { class: "numbers" });
        this.heads = element("div", { class: "controls" });
        this.figure = new Figure("values");
        this.figure.focusable("The numbers of the box; the keyboard scrolls them");
        this.code = element("div");
        const walk = { class: "walk", role: "group", "aria-label": "Walk through the model" };
        this.element = element("section", { class: "details", "aria-label": "The chosen box" },
            element("div", walk, this.back, this.next, this.step), this.title, this.words, this.equation, this.numbers,
            this.heads, this.figure.element, this.code);
    }

    /** `walk`: the boxes in order; `c` as kinds.mjs has it, and the numbers of this box, `shown`. */
    draw(box, walk, c) {
        const at = walk.indexOf(box), place = box.place ? element("code", {}, box.place) : "";
        Object.assign(this, { walk, at });
        this.back.disabled = at === 0;
        this.next.disabled = at === walk.length - 1;
        this.step.textContent = `Step ${at + 1} of ${walk.length}`;
        this.title.replaceChildren(titleOf(box, c), " ", element("small", {}, c.shape(box)), place);
        this.words.replaceChildren(...wordsOf(box, c));
        this.equation.textContent = KINDS[box.kind].equation(box, c);
        this.numbers.replaceChildren(...statistics(box, c));
        replace(this.heads, ...this.#choice(box, c));
        this.numbers.hidden = this.figure.element.hidden = box.kind === "tokens";
        const { over, ...shown } = pictureOf(box, c);
        this.figure.show(shown);
        if (over) this.figure.picture.append(over);
        this.code.replaceChildren(...KINDS[box.kind].code(box, c).map(code));
    }

    #go(by) {
        const to = this.walk[this.at + by];
        if (to) this.state.set({ box: to.id });
    }

    /** Of a head, for what has heads. */
    #choice(box, c) {
        const { heads } = c.found[box.id], options = range(heads).map((h) => [String(h), `head ${h}`]);
        const change = (value) => this.state.set({ head: Number(value) * (c.H / heads) });
        return heads > 1 ? [list("Show", { options }, String(headOf(box, c)), change).element] : [];
    }
}

/** H / G heads of queries share one of keys and values. */
function headOf(box, { found, head, H }) {
    const { heads } = found[box.id];
    return heads > 1 ? Math.floor(head / (H / heads)) : 0;
}

function statistics(box, c) {
    const { mean, least, most, norm, row, T } = c.found[box.id], items = [["mean", brief(mean)]];
    items.push(["range", `${brief(least)} to ${brief(most)}`]);
    if (!PLAIN.includes(box.kind)) items.push([T > 1 ? "mean norm" : "norm", brief(norm)]);
    if (!PLAIN.includes(box.kind) && T > 1) items.push([["norm of ", token(c.chosen(box))], brief(length(row))]);
    return items.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
}

/** What the figure shows: the numbers of all tokens, of what has heads in one of them; `over` frames the chosen row. */
function pictureOf(box, c) {
    const { heads, T, width } = c.found[box.id], head = headOf(box, c), size = T * width;
    const values = c.shown.data.subarray(head * size, (head + 1) * size), tokens = c.tokens(box.text);
    const names = T === tokens.length ? tokens : ["all tokens"], numbers = { T, S: width, values };
    const table = (columns) => [
        ["token", ...columns], ...names.map((name, t) => [name, ...values.subarray(t * width, (t + 1) * width)]),
    ];
    const title = `${titleOf(box, c)}${heads > 1 ? `, head ${head}` : ""}`;
    if (box.kind === "weights") {
        const keys = c.tokens(box.sub === "cross_attention" ? 0 : box.text), note = "Queries in rows, keys in columns";
        const { picture, over, mark } = heatmap(numbers, names, keys, title);
        mark(c.at[box.text], -1);
        return { title, note, picture, over, rows: table(keys) };
    }
    if (["logits", "probabilities"].includes(box.kind)) {
        const of = T > 1 ? [title, " at ", token(c.chosen(box))] : title;
        return { title: of, picture: likeliest(box, c), rows: table(range(width).map((id) => c.output(id))) };
    }
    const picture = sheet(numbers, names, Math.min(c.at[box.text], T - 1), title);
    const note = `${T > 1 ? "A row for each token, " : ""}${width} numbers`;
    return { title, note, picture, rows: table(range(width).map(String)) };
}

/** A chart of the chosen token's largest logits, or probabilities. */
function likeliest({ id: box, kind }, { found, output }) {
    const { row } = found[box], best = [...row.keys()].sort((a, b) => row[b] - row[a]).slice(0, MOST);
    const most = row[best[0]], least = Math.min(row[best.at(-1)], 0), are = kind === "logits";
    const listed = best.map((id) => ({
        name: output(id), p: are ? (row[id] - least) / (most - least || 1) : row[id],
        said: are ? brief(row[id]) : percent(row[id]),
    }));
    return bars(listed, listed.map(({ name, said }) => `${name} ${said}`).join(", "));
}
