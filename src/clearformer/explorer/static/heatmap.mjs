/* Numbers [T, S] as a picture: a row for each query, a column for each key; SVG, or a canvas where they are many. */

import { inkOn, palette, rgb, shade } from "./colours.mjs";
import { central, element, svg } from "./dom.mjs";
import { shortened } from "./visible.mjs";

const MOST = 64; /* rows or columns in SVG, and with names */
const SPAN = 560, LARGEST = 36, SMALLEST = 12, NUMBERED = 30; /* points: the whole, cells, one that has its number */
const LETTER = 13, WIDTH = 0.61; /* height of a letter at most, and its width as a share of the height */
const NUMBERS = 512; /* the most in one picture; browsers need long for more text in SVG */
const LEVELS = 255; /* of a colour */

/** { picture, over, scale, cellAt, mark } of { T, S, values }, of which NaN is left blank, and the names of rows and
    columns: `over` is to be put over the picture, `scale` has the strongest colour, `cellAt(event)` is the cell [t, s]
    below a pointer, if there is one, and `mark(t, s)` frames a row and a column, -1 for none. Maps of the same `most`
    have the same colours; a `wide` one is as wide as its cells need, which have numbers, unless there are too many. */
export function heatmap({ T, S, values }, rows, columns, label, { most = magnitude(values), wide = false } = {}) {
    const many = wide ? T * S > MOST ** 2 : Math.max(T, S) > MOST, scale = most || 1;
    const fitting = !wide || many ? SPAN / Math.max(T, S) : T * S > NUMBERS ? SMALLEST : LARGEST;
    const cell = many ? fitting : Math.min(Math.max(Math.floor(fitting), SMALLEST), LARGEST);
    const size = Math.min(LETTER, cell), letters = (name) => [...shortened(name)].length;
    const longest = (names) => Math.max(...names.map(letters));
    const span = (names) => (many ? 0 : longest(names) * WIDTH * size + 10);
    const place = { T, S, cell, size, left: span(rows), top: span(columns) };
    const about = { class: "heatmap", role: "img", "aria-label": label };
    const picture = (many ? onCanvas : inSVG)({ ...place, values, rows, columns, about, scale });
    const bands = [0, 1].map(() => svg("rect", { class: "band" }));
    const over = svg("svg", { class: "over", viewBox: boxOf(place), "aria-hidden": "true" }, bands);
    return {
        picture, over, scale,
        cellAt: (event) => cellAt(event, picture, place),
        mark: (t, s) => mark(bands, place, t, s),
    };
}

const boxOf = ({ left, top, cell, T, S }) => `0 0 ${left + S * cell} ${top + T * cell}`;

/** The largest size of a number; NaN has none. */
export function magnitude(values) {
    let most = 0;
    for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
    return most;
}

function inSVG({ values, rows, columns, about, scale, ...place }) {
    const { left, top, cell, size, T, S } = place, colours = palette(), drawn = [], css = { "font-size": `${size}px` };
    values.forEach((value, i) => {
        if (Number.isNaN(value)) return;
        const x = left + (i % S) * cell, y = top + Math.floor(i / S) * cell, colour = shade(colours, value / scale);
        drawn.push(svg("rect", { x, y, width: cell - 1, height: cell - 1, rx: 1.5, fill: rgb(colour) }));
        const middle = { x: x + cell / 2, y: y + cell / 2, "text-anchor": "middle", ...central };
        if (cell >= NUMBERED)
            drawn.push(svg("text", { class: "number", ...middle, css: { fill: inkOn(colour) } }, brief(value)));
    });
    const name = (attributes, text) => svg("text", { class: "name", css, ...central, ...attributes }, shortened(text));
    const names = [
        ...rows.map((text, t) => name({ x: left - 6, y: top + (t + 0.5) * cell, "text-anchor": "end" }, text)),
        ...columns.map((text, s) =>
            name({ transform: `translate(${left + (s + 0.5) * cell} ${top - 6}) rotate(-90)` }, text)),
    ];
    const sizes = { viewBox: boxOf(place), width: left + S * cell, height: top + T * cell };
    return svg("svg", { ...about, ...sizes }, drawn, names);
}

/** Two digits: 0.83 as .83. */
const brief = (value) =>
    Math.abs(value) < 0.995 ? value.toFixed(2).replace(/^(-?)0/, "$1") : value.toFixed(Math.abs(value) < 9.95 ? 1 : 0);

function onCanvas({ cell, T, S, values, about, scale }) {
    const small = mapCanvas({ rows: T, columns: S, data: values }, scale), points = window.devicePixelRatio;
    const sizes = { width: S * cell * points, height: T * cell * points, css: { width: `${S * cell}px` } };
    const canvas = element("canvas", { ...about, ...sizes }), context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    return canvas;
}

/** A point for each number; drawn anew on a canvas that is there, which is quicker, if there is one. */
export function mapCanvas({ rows, columns, data }, scale = 1, canvas = element("canvas", { "aria-hidden": "true" })) {
    Object.assign(canvas, { width: columns, height: rows });
    const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
    const points = new Uint32Array(image.data.buffer), shades = pixels();
    for (let i = 0; i < data.length; i++) {
        const share = LEVELS * Math.sqrt(Math.min(Math.abs(data[i] / scale), 1));
        if (share >= 0) points[i] = shades[LEVELS + Math.sign(data[i]) * Math.round(share)]; /* NaN stays blank */
    }
    context.putImageData(image, 0, 0);
    return canvas;
}

/** The shades of numbers whose square roots are -LEVELS to LEVELS, as the points of an image. */
function pixels() {
    const colours = palette(), bytes = Array.from({ length: 2 * LEVELS + 1 }, (_, i) => i - LEVELS)
        .flatMap((level) => [...shade(colours, Math.sign(level) * (level / LEVELS) ** 2), 255]);
    return new Uint32Array(Uint8Array.from(bytes).buffer);
}

function cellAt({ clientX, clientY }, picture, { left, top, cell, T, S }) {
    const box = picture.getBoundingClientRect(), points = (left + S * cell) / box.width;
    const s = Math.floor(((clientX - box.left) * points - left) / cell);
    const t = Math.floor(((clientY - box.top) * points - top) / cell);
    return s >= 0 && s < S && t >= 0 && t < T ? [t, s] : undefined;
}

function mark([row, column], { left, top, cell, T, S }, t, s) {
    const put = (band, shown, place) => {
        band.style.display = shown ? "" : "none";
        Object.entries(place).forEach(([name, value]) => band.setAttribute(name, value));
    };
    put(row, t >= 0, { x: left - 1, y: top + t * cell - 1, width: S * cell + 1, height: cell + 1 });
    put(column, s >= 0, { x: left + s * cell - 1, y: top - 1, width: cell + 1, height: T * cell + 1 });
}
