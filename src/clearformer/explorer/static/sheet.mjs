/* A matrix as a picture: a row for each token, as wide as the page whatever the number of columns. */

import { svg } from "./dom.mjs";
import { mapCanvas } from "./heatmap.mjs";
import { shortened } from "./visible.mjs";

const WIDTH = 560, NAME = 96, ROW = 15, TALLEST = 600, LEGEND = 30, NAMED = 9; /* points; rows have names from NAMED on */

/** An SVG of { T, S, values } with names of rows, of which one is `chosen`; blue is positive, red negative. */
export function sheet({ T, S, values }, rows, chosen, label) {
    const height = Math.min(ROW, TALLEST / T), wide = WIDTH - NAME, scale = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    const image = mapCanvas({ rows: T, columns: S, data: values }, scale).toDataURL();
    const names = rows.map((name, t) => (height >= NAMED || t === chosen) && svg("text", {
        class: t === chosen ? "name chosen" : "name", x: NAME - 7, y: (t + 0.5) * height, "text-anchor": "end", "dominant-baseline": "central",
    }, shortened(name, 11)));
    return svg("svg", { class: "sheet", viewBox: `0 0 ${WIDTH} ${T * height + LEGEND}`, role: "img", "aria-label": label },
        svg("image", { href: image, x: NAME, y: 0, width: wide, height: T * height, preserveAspectRatio: "none", css: { "image-rendering": "pixelated" } }),
        names.filter(Boolean), svg("rect", { class: "band", x: NAME - 1, y: chosen * height, width: wide + 2, height }),
        legend(scale, T * height + 12));
}

/** From minus to plus `scale`. */
function legend(scale, y) {
    const right = WIDTH - 48, left = right - 160, words = scale.toPrecision(3);
    const image = mapCanvas({ rows: 1, columns: STEPS.length, data: STEPS }).toDataURL();
    const text = (x, anchor, said) => svg("text", { class: "small", x, y: y + 5, "text-anchor": anchor, "dominant-baseline": "central" }, said);
    return [
        text(left - 7, "end", `−${words}`), text(right + 7, "start", words),
        svg("image", { href: image, x: left, y, width: 160, height: 10, preserveAspectRatio: "none", css: { "image-rendering": "pixelated" } }),
    ];
}

const STEPS = Array.from({ length: 21 }, (_, i) => (i - 10) / 10);
