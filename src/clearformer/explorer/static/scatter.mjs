/* Points in a plane, with a name each. */

import { svg } from "./dom.mjs";
import { roundUp } from "./numbers.mjs";

const WIDTH = 400, HEIGHT = 260, LEFT = 62, BOTTOM = 44, TOP = 12, RIGHT = 12, TICKS = 4;
const end = { "text-anchor": "end" }, middle = { "text-anchor": "middle" };

/** `points`: [{ x, y, name, strong }], of which the strong ones are labelled; the axes begin at 0, and x ends at 1. */
export function scatter(points, names, label) {
    const step = roundUp(Math.max(0, ...points.map(({ y }) => y)) / TICKS || 1), most = TICKS * step;
    const wide = WIDTH - LEFT - RIGHT, high = HEIGHT - TOP - BOTTOM;
    const digits = Math.max(0, 1 - Math.floor(Math.log10(step)));
    const x = (value) => LEFT + wide * value, y = (value) => TOP + high * (1 - value / most);
    const tick = (share) => [
        svg("line", { class: "grid", x1: LEFT, x2: x(1), y1: y(share * most), y2: y(share * most) }),
        svg("text", { x: LEFT - 8, y: y(share * most) + 4, ...end }, (share * most).toFixed(digits)),
        svg("text", { x: x(share), y: HEIGHT - BOTTOM + 18, ...middle }, share.toFixed(2)),
    ];
    const dot = (point) => {
        const [cx, cy] = [x(point.x), y(point.y)], before = point.x > 0.5;
        return svg("g", { class: point.strong ? "dot strong" : "dot" },
            svg("title", {}, `${point.name}: ${point.x.toFixed(2)}, ${point.y.toFixed(digits)}`),
            svg("circle", { cx, cy, r: point.strong ? 6 : 4 }),
            point.strong && svg("text", { x: cx + (before ? -10 : 10), y: cy - 10, ...(before && end) }, point.name));
    };
    const ticks = Array.from({ length: TICKS + 1 }, (_, i) => tick(i / TICKS)).flat();
    const dots = [...points].sort((a, b) => Number(a.strong) - Number(b.strong)).map(dot);
    const axis = { transform: `translate(11 ${TOP + high / 2}) rotate(-90)`, ...middle };
    return svg("svg", { class: "scatter", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
        ticks, dots, svg("text", { x: LEFT + wide / 2, y: HEIGHT - 6, ...middle }, names.x),
        svg("text", axis, names.y));
}
