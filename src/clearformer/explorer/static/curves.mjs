/* Probabilities that change from token to token: a line each, named at its end. */

import { central, svg } from "./dom.mjs";
import { cut, shortened } from "./visible.mjs";

const WIDTH = 460, HEIGHT = 220, LEFT = 34, RIGHT = 100, TOP = 10, BOTTOM = 40; /* points */
const END = WIDTH - RIGHT, BASE = HEIGHT - BOTTOM, TICKS = 16, APART = 15; /* points between names */
const DASHES = ["", "7 4", "2 4", "10 3 2 3", "1 6"];

/** `shown`: [{ name, values }]; place `at` is marked. `tokens` are below the lines, as many as there is room for. */
export function curves(shown, at, tokens, label) {
    const count = shown[0].values.length, every = Math.ceil(count / TICKS);
    const x = (i) => LEFT + ((END - LEFT) * i) / Math.max(count - 1, 1), y = (p) => TOP + (1 - p) * (BASE - TOP);
    const grid = [0, 0.5, 1].flatMap((p) => [
        svg("line", { class: "grid", x1: LEFT, x2: END, y1: y(p), y2: y(p) }),
        svg("text", { class: "tick", x: LEFT - 6, y: y(p), "text-anchor": "end", ...central }, `${100 * p} %`),
    ]);
    const names = tokens.slice(0, count).map((token, i) => i % every === 0 && svg("text", {
        class: "tick", transform: `translate(${x(i)} ${BASE + 8}) rotate(40)`,
    }, shortened(token, 6)));
    const drawn = shown.map(({ values }, n) => svg("polyline", {
        class: n ? "curve" : "curve strong", "stroke-dasharray": DASHES[n],
        points: values.map((p, i) => `${x(i)},${y(p)}`).join(" "),
    }));
    const ends = spread(shown.map(({ values }) => y(values.at(-1)))).map((place, n) =>
        svg("text", { class: n ? "" : "strong", x: END + 8, y: place, ...central }, cut(shown[n].name, 12)));
    const mark = svg("line", { class: "mark", x1: x(at), x2: x(at), y1: TOP, y2: BASE });
    const about = { class: "curves", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label };
    return svg("svg", about, grid, names, drawn, mark, ends);
}

/** The same places in the same order, none below the base or nearer to the one below it than APART. */
function spread(places) {
    const order = [...places.keys()].sort((a, b) => places[b] - places[a]), out = [...places];
    order.forEach((n, i) => (out[n] = Math.min(out[n], i ? out[order[i - 1]] - APART : BASE)));
    return out;
}
