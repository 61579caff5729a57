/* Lines between tokens: queries on the left, keys on the right, a stronger line for a larger number. */

import { roving, svg } from "./dom.mjs";
import { shortened, visible } from "./visible.mjs";

const MOST = 64; /* tokens on a side */
const ROW = 21, NAME = 120, WIDTH = 460; /* points */
const FAINT = 0.03; /* smaller shares of the largest number have no line */

/** { picture, mark(t, s) } of { T, S, values }. `press` is called with ("query", t) or ("key", s); `locked` is { query, key },
    -1 for none. Of more than MOST tokens there are the locked ones, and those of their strongest lines. */
export function lines({ T, S, values }, names, label, locked, press) {
    const scale = largest(values, S, locked), at = (t, s) => Math.abs(values[t * S + s]) / scale || 0;
    const shown = {
        query: chosen(T, locked.query, (t) => (locked.key < 0 ? 0 : at(t, locked.key))),
        key: chosen(S, locked.key, (s) => (locked.query < 0 ? 0 : at(locked.query, s))),
    };
    const y = (index) => ROW * (index + 0.5), drawn = [];
    shown.query.forEach((t, i) => shown.key.forEach((s, j) => {
        if (at(t, s) < FAINT) return;
        const line = svg("line", { class: "line", x1: NAME, y1: y(i), x2: WIDTH - NAME, y2: y(j), "stroke-opacity": 0.1 + 0.9 * at(t, s), "stroke-width": 1 + 2 * at(t, s) });
        drawn.push({ line, t, s });
    }));
    const side = (kind, x, anchor) => svg("g", { role: "group", "aria-label": kind === "query" ? "Queries" : "Keys" }, shown[kind].map((index, i) => {
        const pressed = locked[kind] === index, act = () => press(kind, pressed ? -1 : index);
        return svg("g", {
            role: "button", class: "name", "aria-pressed": String(pressed), "aria-label": `${kind} ${index + 1}: ${visible(names[kind][index])}`, "data-kind": kind, "data-index": index,
            click: act, keydown: (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), act()),
        }, svg("rect", { x: kind === "query" ? 0 : WIDTH - NAME + 2, y: ROW * i + 1, width: NAME - 2, height: ROW - 2, rx: 3 }),
            svg("text", { x, y: y(i), "text-anchor": anchor, "dominant-baseline": "central" }, shortened(names[kind][index])));
    }));
    const sides = [side("query", NAME - 8, "end"), side("key", WIDTH - NAME + 8, "start")];
    sides.forEach((side) => roving(side));
    const height = ROW * Math.max(shown.query.length, shown.key.length);
    const picture = svg("svg", { class: "lines", viewBox: `0 0 ${WIDTH} ${height}`, "aria-label": label, role: "group" }, drawn.map(({ line }) => line), sides);
    const mark = (t, s) => drawn.forEach((each) => each.line.classList.toggle("dim", (t >= 0 && each.t !== t) || (s >= 0 && each.s !== s)));
    mark(locked.query, locked.key);
    return { picture, mark };
}

/** The largest number, of those that are held. */
function largest(values, S, { query, key }) {
    let most = 0;
    values.forEach((value, i) => {
        const held = (query < 0 || Math.floor(i / S) === query) && (key < 0 || i % S === key);
        if (held && Math.abs(value) > most) most = Math.abs(value);
    });
    return most || 1;
}

/** All places, or of too many the locked one, or those of the largest numbers. */
function chosen(count, locked, value) {
    const all = Array.from({ length: count }, (_, i) => i);
    if (count <= MOST) return all;
    return locked >= 0 ? [locked] : all.sort((a, b) => value(b) - value(a)).slice(0, MOST).sort((a, b) => a - b);
}
