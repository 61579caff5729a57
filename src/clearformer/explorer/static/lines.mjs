/* Lines between tokens: queries on the left, keys on the right, a stronger line for a larger number. */

import { central, pressed, roving, svg } from "./dom.mjs";
import { shortened, visible } from "./visible.mjs";

const MOST = 64; /* tokens on a side */
const ROW = 21, NAME = 120, WIDTH = 460, END = WIDTH - NAME; /* points */
const FAINT = 0.03; /* smaller shares of the largest number have no line */
const SIDES = {
    query: { box: 0, text: NAME - 8, anchor: "end" },
    key: { box: END + 2, text: END + 8, anchor: "start" },
};

/** { picture, mark(t, s) } of { T, S, values } and `names`, { query, key }. `press` is called with "query" or "key" and
    its place; `held` has the places { query, key } of what was pressed, -1 for none. Of more than MOST tokens there are
    those that are held, and those of their strongest lines. */
export function lines({ T, S, values }, names, label, held, press) {
    const scale = largest(values, S, held), at = (t, s) => Math.abs(values[t * S + s]) / scale || 0;
    const shown = {
        query: chosen(T, held.query, (t) => (held.key < 0 ? 0 : at(t, held.key))),
        key: chosen(S, held.key, (s) => (held.query < 0 ? 0 : at(held.query, s))),
    };
    const drawn = shown.query.flatMap((t, i) => shown.key.flatMap((s, j) => {
        const ends = { x1: NAME, y1: middle(i), x2: END, y2: middle(j) }, strength = at(t, s);
        const style = { "stroke-opacity": 0.1 + 0.9 * strength, "stroke-width": 1 + 2 * strength };
        return strength < FAINT ? [] : [{ t, s, line: svg("line", { class: "line", ...ends, ...style }) }];
    }));
    const sides = ["query", "key"].map((kind) => svg("g", { role: "group", "aria-label": kind },
        shown[kind].map((index, i) => button(kind, index, i, names[kind][index], held[kind] === index, press))));
    sides.forEach((side) => roving(side));
    const viewBox = `0 0 ${WIDTH} ${ROW * Math.max(shown.query.length, shown.key.length)}`;
    const about = { class: "lines", viewBox, role: "group", "aria-label": label };
    const mark = (t, s) => drawn.forEach((each) =>
        each.line.classList.toggle("dim", (t >= 0 && each.t !== t) || (s >= 0 && each.s !== s)));
    mark(held.query, held.key);
    return { picture: svg("svg", about, drawn.map(({ line }) => line), sides), mark };
}

const middle = (row) => ROW * (row + 0.5);

function button(kind, index, row, name, isHeld, press) {
    const act = () => press(kind, isHeld ? -1 : index), { box, text, anchor } = SIDES[kind];
    return svg("g", {
        class: "name", "aria-label": `${kind} ${index + 1}: ${visible(name)}`, "aria-pressed": String(isHeld),
        "data-kind": kind, "data-index": index, ...pressed(act),
    }, svg("rect", { x: box, y: ROW * row + 1, width: NAME - 2, height: ROW - 2, rx: 3 }),
    svg("text", { x: text, y: middle(row), "text-anchor": anchor, ...central }, shortened(name)));
}

/** The largest number, of those that are held. */
function largest(values, S, { query, key }) {
    let most = 0;
    values.forEach((value, i) => {
        const counts = (query < 0 || Math.floor(i / S) === query) && (key < 0 || i % S === key);
        if (counts && Math.abs(value) > most) most = Math.abs(value);
    });
    return most || 1;
}

/** All places, or of too many the held one, or those of the largest numbers. */
function chosen(count, held, value) {
    const all = Array.from({ length: count }, (_, i) => i);
    if (count <= MOST) return all;
    return held >= 0 ? [held] : all.sort((a, b) => value(b) - value(a)).slice(0, MOST).sort((a, b) => a - b);
}
