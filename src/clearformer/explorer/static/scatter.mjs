/* Points in a plane, with a name each. */

import { svg } from "./dom.mjs";

const WIDTH = 400, HEIGHT = 260, LEFT = 62, BOTTOM = 44, TOP = 12, RIGHT = 12, TICKS = 4;

/** `points`: [{ x, y, name, strong }], of which the strong ones are labelled; the axes begin at 0, and x ends at 1. */
export function scatter(points, { x: nameX, y: nameY }, label) {
    const step = roundUp(Math.max(0, ...points.map(({ y }) => y)) / TICKS || 1), most = TICKS * step, wide = WIDTH - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
    const x = (value) => LEFT + wide * value, y = (value) => TOP + high * (1 - value / most), digits = Math.max(0, 1 - Math.floor(Math.log10(step)));
    const text = (attributes, words) => svg("text", { "text-anchor": "middle", ...attributes }, words);
    const ticks = Array.from({ length: TICKS + 1 }, (_, i) => i / TICKS);
    const axes = ticks.flatMap((share) => [
        svg("line", { class: "grid", x1: LEFT, x2: x(1), y1: y(share * most), y2: y(share * most) }),
        text({ x: LEFT - 8, y: y(share * most), "text-anchor": "end", "dominant-baseline": "central" }, (share * most).toFixed(digits)),
        text({ x: x(share), y: HEIGHT - BOTTOM + 18 }, share.toFixed(2)),
    ]);
    const dots = [...points].sort((a, b) => Number(a.strong) - Number(b.strong)).map((point) => svg("g", { class: point.strong ? "dot strong" : "dot" },
        svg("title", {}, `${point.name}: ${point.x.toFixed(2)}, ${point.y.toFixed(digits)}`),
        svg("circle", { cx: x(point.x), cy: y(point.y), r: point.strong ? 6 : 4 }),
        point.strong ? [text({ x: x(point.x) + (point.x > 0.5 ? -10 : 10), y: y(point.y) - 10, "text-anchor": point.x > 0.5 ? "end" : "start" }, point.name)] : []));
    return svg("svg", { class: "scatter", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, axes, dots,
        text({ x: LEFT + wide / 2, y: HEIGHT - 6 }, nameX), text({ transform: `translate(11 ${TOP + high / 2}) rotate(-90)` }, nameY));
}

/** To the next of 1, 2, 2.5 and 5 times a power of ten. */
function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return power * [1, 2, 2.5, 5, 10].find((times) => times * power >= value);
}
