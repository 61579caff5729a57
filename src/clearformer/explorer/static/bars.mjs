/* A chart of probabilities: a bar each, the name on its left, the number on its right. */

import { svg } from "./dom.mjs";
import { cut, percent } from "./visible.mjs";

const WIDTH = 360, ROW = 22, NAME = 110, NUMBER = 58;

/** `rows`: [{ name, p, strong, frame }], the strong ones in another colour; a frame has another probability. */
export function bars(rows, label) {
    const height = ROW * rows.length;
    return svg("svg", { class: "bars", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label },
        rows.map(({ name, p, strong, frame }, i) => {
            const middle = ROW * i + ROW / 2, length = WIDTH - NAME - NUMBER;
            return svg("g", { class: strong && "strong" },
                svg("text", { class: "name", x: NAME - 8, y: middle, "text-anchor": "end", "dominant-baseline": "central" }, cut(name)),
                svg("rect", { class: "track", x: NAME, y: middle - 7, width: length, height: 14, rx: 2 }),
                svg("rect", { class: "bar", x: NAME, y: middle - 7, width: length * p, height: 14, rx: 2 }),
                frame !== undefined && svg("rect", { class: "frame", x: NAME, y: middle - 9, width: length * frame, height: 18, rx: 3 }),
                svg("text", { x: WIDTH, y: middle, "text-anchor": "end", "dominant-baseline": "central" }, percent(p)));
        }));
}
