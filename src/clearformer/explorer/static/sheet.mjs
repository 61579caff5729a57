/* A matrix as a picture: a row for each token, as wide as the page, however many columns it has. */

import { central, svg } from "./dom.mjs";
import { magnitude, mapCanvas } from "./heatmap.mjs";
import { shortened } from "./visible.mjs";

const WIDTH = 560, NAME = 96, ROW = 15, TALLEST = 600, NAMED = 9; /* points; rows of NAMED and more have names */
const LEGEND = { width: 160, height: 10, room: 48, below: 12 }; /* `room` for the number on its right */
const STEPS = Array.from({ length: 21 }, (_, i) => (i - 10) / 10);
const LONGEST = 11; /* letters of a name */

/** An SVG of { T, S, values } with names of rows, of which one is `chosen`; blue is positive, red negative. */
export function sheet({ T, S, values }, rows, chosen, label) {
    const height = Math.min(ROW, TALLEST / T), width = WIDTH - NAME, end = T * height + LEGEND.below;
    const scale = magnitude(values) || 1;
    const names = rows.map((name, t) => (height >= NAMED || t === chosen) && svg("text", {
        class: t === chosen ? "name chosen" : "name",
        x: NAME - 7, y: (t + 0.5) * height, "text-anchor": "end", ...central,
    }, shortened(name, LONGEST)));
    const about = { class: "sheet", role: "img", "aria-label": label };
    return svg("svg", { ...about, viewBox: `0 0 ${WIDTH} ${end + LEGEND.height}` },
        image({ rows: T, columns: S, data: values }, scale, { x: NAME, y: 0, width, height: T * height }),
        names, svg("rect", { class: "band", x: NAME - 1, y: chosen * height, width: width + 2, height }),
        legend(scale, end));
}

/** A point for each number, as large as `place` says. */
function image(numbers, scale, place) {
    const sharp = { preserveAspectRatio: "none", css: { "image-rendering": "pixelated" } };
    return svg("image", { href: mapCanvas(numbers, scale).toDataURL(), ...place, ...sharp });
}

/** Colours from minus to plus `scale`. */
function legend(scale, y) {
    const { width, height, room } = LEGEND, right = WIDTH - room, left = right - width, words = scale.toPrecision(3);
    const text = (x, anchor, said) =>
        svg("text", { class: "small", x, y: y + height / 2, "text-anchor": anchor, ...central }, said);
    return [
        text(left - 7, "end", `−${words}`), text(right + 7, "start", words),
        image({ rows: 1, columns: STEPS.length, data: STEPS }, 1, { x: left, y, width, height }),
    ];
}
