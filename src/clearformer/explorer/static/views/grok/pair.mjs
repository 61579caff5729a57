/* Two square maps side by side, of the weights on a and on b, with a cross on both. */

import { central, element, svg } from "../../dom.mjs";
import { mapCanvas } from "../../heatmap.mjs";

const SIDE = 180, LEFT = 18, TOP = 34, GAP = 16, WIDTH = LEFT + 2 * SIDE + GAP + 2; /* points */
const LEFTS = [LEFT, LEFT + SIDE + GAP];

const canvas = element("canvas"); /* one for all, as a new one takes long */

/** { picture, pairAt(clientX, clientY), mark(i, j) } of the maps a and b [n, n], of numbers from 0 to 1. */
export function mapPair({ n, a, b }, label) {
    const cell = SIDE / n, sharp = { preserveAspectRatio: "none", css: { "image-rendering": "pixelated" } };
    const text = (name, x, y, words, anchor = "middle") =>
        svg("text", { class: name, x, y, "text-anchor": anchor, ...central }, words);
    const crosses = LEFTS.map(() => [svg("rect", { class: "band" }), svg("rect", { class: "band" })]);
    const map = (data, m) => [
        text("", LEFTS[m] + SIDE / 2, 9, `on ${"ab"[m]}`), text("tick", LEFTS[m] + SIDE, 25, "b →", "end"),
        svg("image", { href: imageOf(n, data), x: LEFTS[m], y: TOP, width: SIDE, height: SIDE, ...sharp }),
        ...crosses[m],
    ];
    const about = { class: "pair", viewBox: `0 0 ${WIDTH} ${TOP + SIDE + 2}`, role: "img", "aria-label": label };
    const picture = svg("svg", about, map(a, 0), map(b, 1),
        text("tick", LEFT / 2 - 2, TOP + 8, "a"), text("tick", LEFT / 2 - 2, TOP + 22, "↓"));
    return {
        picture,
        mark: (i, j) => crosses.forEach(([row, column], m) => {
            put(row, { x: LEFTS[m], y: TOP + i * cell, width: SIDE, height: cell });
            put(column, { x: LEFTS[m] + j * cell, y: TOP, width: cell, height: SIDE });
        }),
        pairAt(clientX, clientY) {
            const { left, top, width } = picture.getBoundingClientRect(), points = WIDTH / width;
            const x = (clientX - left) * points, i = Math.floor(((clientY - top) * points - TOP) / cell);
            const [j] = LEFTS.map((start) => Math.floor((x - start) / cell)).filter((place) => place >= 0 && place < n);
            return j !== undefined && i >= 0 && i < n ? [i, j] : undefined;
        },
    };
}

const imageOf = (n, data) => mapCanvas({ rows: n, columns: n, data }, 1, canvas).toDataURL();

const put = (box, place) => Object.entries(place).forEach(([name, value]) => box.setAttribute(name, value));
