/* A column for each frequency, of which the key ones stand out and have their names. */

import { central, svg } from "../../dom.mjs";
import { roundUp } from "../../numbers.mjs";
import { percent } from "../../visible.mjs";

const NARROWEST = 300, WIDEST = 620, HEIGHT = 160, LEFT = 46, TOP = 10, BOTTOM = 38, RIGHT = 4, APART = 15; /* points */
const BASE = HEIGHT - BOTTOM, FILLED = 0.75; /* share of its room that a column fills */

/** `shares` of the frequencies 1, 2, …; `most` is as high as a column can be, and `room` is for the width. */
export function columns(shares, keys, { most, room }, label) {
    const width = Math.min(Math.max(room, NARROWEST), WIDEST), right = width - RIGHT;
    const high = roundUp(most || 1), wide = (right - LEFT) / shares.length;
    const y = (share) => BASE - ((BASE - TOP) * share) / high, middle = (k) => LEFT + (k - 0.5) * wide;
    const text = (x, at, anchor, words, name = "tick") =>
        svg("text", { class: name, x, y: at, "text-anchor": anchor, ...central }, words);
    const ticks = [0, high / 2, high].flatMap((share) => [
        svg("line", { class: "grid", x1: LEFT, x2: right, y1: y(share), y2: y(share) }),
        text(LEFT - 6, y(share), "end", percent(share)),
    ]);
    const bars = shares.map((share, i) => svg("rect", {
        class: keys.includes(i + 1) ? "bar key" : "bar", x: middle(i + 1) - (wide * FILLED) / 2, y: y(share),
        width: wide * FILLED, height: BASE - y(share),
    }, svg("title", {}, `${i + 1}: ${percent(share)}`)));
    const apart = keys.filter((k, i) => !i || (k - keys[i - 1]) * wide >= APART);
    return svg("svg", { class: "columns", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label },
        ticks, bars, apart.map((k) => text(middle(k), BASE + 12, "middle", k, "named")),
        text(right, BASE + 29, "end", `frequency k, 1 to ${shares.length}`));
}
