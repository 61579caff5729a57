/* Numbers on a circle that is traced k times: a point each, and a line that goes round. */

import { central, svg } from "../../dom.mjs";

const SIZE = 240, MIDDLE = SIZE / 2, ROOM = 24, BEYOND = 14; /* points: outside a circle, and to the middle of a name */
const NAMED = 8; /* numbers */

/** Of n places number j = 0 … n - 1 stands at (x[j], y[j]); `scale` is at the edge. */
export function ring({ numbers, k, x, y }, scale, label) {
    const n = numbers.length, far = (MIDDLE - ROOM) / (scale || 1), order = around(n, k);
    const at = (j) => [MIDDLE + far * x[j], MIDDLE - far * y[j]], round = [...order, order[0]];
    const dot = (j) => {
        const [cx, cy] = at(j), css = { fill: `hsl(${Math.round((360 * j) / n)} 70% var(--light))` };
        return svg("circle", { cx, cy, r: n > 40 ? 3.5 : 5, css }, svg("title", {}, String(numbers[j])));
    };
    const name = (j) => {
        const [cx, cy] = at(j), away = Math.hypot(cx - MIDDLE, cy - MIDDLE) || 1;
        const put = (value) => value + (BEYOND * (value - MIDDLE)) / away;
        const place = { x: put(cx), y: put(cy), "text-anchor": "middle", ...central };
        return svg("text", { class: "tick", ...place }, String(numbers[j]));
    };
    const named = order.filter((_, i) => i % Math.ceil(n / NAMED) === 0);
    const axis = (from, to) => svg("line", { class: "grid", x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
    return svg("svg", { class: "ring", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": label },
        axis([0, MIDDLE], [SIZE, MIDDLE]), axis([MIDDLE, 0], [MIDDLE, SIZE]),
        svg("polyline", { class: "round", points: round.map((j) => at(j).join(",")).join(" ") }),
        order.map(dot), named.map(name));
}

/** The places in the order of their angles, 2π k j / n. */
const around = (n, k) => Array.from({ length: n }, (_, j) => j).sort((i, j) => ((k * i) % n) - ((k * j) % n));
