/* A chart of probabilities: a bar each, the name on its left, the number on its right. */

import { central, svg } from "./dom.mjs";
import { cut, percent } from "./visible.mjs";

const WIDTH = 360, ROW = 22, NAME = 110, NUMBER = 58, BAR = 14, FRAME = 18; /* points */

/** `rows`: [{ name, p, strong, frame, said }], the strong ones in another colour; a frame has another probability, and
    `said` is written in the place of p. */
export function bars(rows, label) {
    const length = WIDTH - NAME - NUMBER;
    const drawn = rows.map(({ name, p, strong, frame, said = percent(p) }, i) => {
        const middle = ROW * (i + 0.5), text = (x, attributes, words) =>
            svg("text", { x, y: middle, "text-anchor": "end", ...central, ...attributes }, words);
        const box = (kind, share, height) => svg("rect", {
            class: kind, x: NAME, y: middle - height / 2, width: length * share, height, rx: 2,
        });
        return svg("g", { class: strong && "strong" },
            text(NAME - 8, { class: "name" }, cut(name)), box("track", 1, BAR), box("bar", p, BAR),
            frame !== undefined && box("frame", frame, FRAME), text(WIDTH, {}, said));
    });
    const viewBox = `0 0 ${WIDTH} ${ROW * rows.length}`;
    return svg("svg", { class: "bars", viewBox, role: "img", "aria-label": label }, drawn);
}
