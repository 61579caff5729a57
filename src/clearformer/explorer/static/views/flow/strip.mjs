/* A vector as a strip of colours. */

import { rgb, shade } from "../../colours.mjs";
import { svg } from "../../dom.mjs";
import { largest } from "../../numbers.mjs";

const CELLS = 40; /* at most: each has the number of largest size among those that it stands for */
const OVERLAP = 0.4; /* points, so that no gaps show */

/** Rectangles in the place { x, y, width, height }. */
export function strip(vector, { x, y, width, height }, colours) {
    const per = Math.ceil(vector.length / CELLS), cells = Math.ceil(vector.length / per) || 0, wide = width / cells;
    const scale = Math.max(...vector.map(Math.abs)) || 1;
    return Array.from({ length: cells }, (_, i) => {
        const some = vector.subarray(i * per, (i + 1) * per), value = some[largest(some.map(Math.abs))];
        const fill = rgb(shade(colours, value / scale));
        return svg("rect", { x: x + i * wide, y, width: wide + OVERLAP, height, fill });
    });
}
