/* Numbers [T, S] as a picture: a row for each query, a column for each key; SVG, or a canvas where they are many. */

import { inkOn, palette, rgb, shade } from "./colours.mjs";
import { element, svg } from "./dom.mjs";
import { shortened } from "./visible.mjs";

const MOST = 64; /* rows or columns in SVG, and with names */
const SPAN = 560, LARGEST = 36, SMALLEST = 11, NUMBERED = 30; /* points: of the whole, and of a cell; with its number from NUMBERED */
const LETTER = 7.3;

/** { picture, cellAt(event), mark(t, s) } of { T, S, values } and the names of rows and columns. NaN is left blank, and `most`
    has the full colour. */
export function heatmap({ T, S, values }, rows, columns, label, most = largest(values)) {
    const many = Math.max(T, S) > MOST, cell = many ? Math.max(SPAN / Math.max(T, S), 2) : Math.min(Math.max(Math.floor(SPAN / Math.max(T, S)), SMALLEST), LARGEST);
    const longest = (names) => (many ? 0 : Math.max(...names.map((name) => [...shortened(name)].length)) * LETTER + 10);
    const place = { left: longest(rows), top: longest(columns), cell, T, S }, scale = most || 1;
    const picture = (many ? onCanvas : inSVG)({ ...place, values, rows, columns, label, scale });
    const bands = [0, 1].map(() => svg("rect", { class: "band" }));
    const over = svg("svg", { class: "over", viewBox: `0 0 ${place.left + S * cell} ${place.top + T * cell}`, "aria-hidden": "true" }, bands);
    return {
        picture, over, scale,
        cellAt: (event) => cellAt(event, picture, place),
        mark: (t, s) => mark(bands, place, t, s),
    };
}

function largest(values) {
    let most = 0;
    for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
    return most;
}

function inSVG({ left, top, cell, T, S, values, rows, columns, label, scale }) {
    const colours = palette(), cells = [];
    for (let t = 0; t < T; t++)
        for (let s = 0; s < S; s++) {
            const value = values[t * S + s], colour = shade(colours, value / scale), x = left + s * cell, y = top + t * cell;
            if (Number.isNaN(value)) continue;
            cells.push(svg("rect", { x, y, width: cell - 1, height: cell - 1, rx: 1.5, fill: rgb(colour) }));
            if (cell >= NUMBERED) cells.push(svg("text", { class: "number", x: x + cell / 2, y: y + cell / 2, css: { fill: inkOn(colour) }, "text-anchor": "middle", "dominant-baseline": "central" }, brief(value)));
        }
    const names = [
        ...rows.map((name, t) => svg("text", { class: "name", x: left - 6, y: top + (t + 0.5) * cell, "text-anchor": "end", "dominant-baseline": "central" }, shortened(name))),
        ...columns.map((name, s) => svg("text", { class: "name", transform: `translate(${left + (s + 0.5) * cell} ${top - 6}) rotate(-90)`, "dominant-baseline": "central" }, shortened(name))),
    ];
    const [width, height] = [left + S * cell, top + T * cell];
    return svg("svg", { class: "heatmap", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label }, cells, names);
}

/** Two digits: 0.83 as .83. */
const brief = (value) => (Math.abs(value) < 0.995 ? value.toFixed(2).replace(/^(-?)0/, "$1") : value.toFixed(Math.abs(value) < 9.95 ? 1 : 0));

function onCanvas({ cell, T, S, values, label, scale }) {
    const small = mapCanvas({ rows: T, columns: S, data: values }, scale), points = window.devicePixelRatio || 1;
    const canvas = element("canvas", { class: "heatmap", width: S * cell * points, height: T * cell * points, role: "img", "aria-label": label, css: { width: `${S * cell}px` } });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    return canvas;
}

/** A point for each number. */
export function mapCanvas({ rows, columns, data }, scale = 1) {
    const canvas = element("canvas", { width: columns, height: rows, "aria-hidden": "true" }), context = canvas.getContext("2d"), colours = palette();
    const image = context.createImageData(columns, rows);
    data.forEach((value, i) => image.data.set(Number.isNaN(value) ? [0, 0, 0, 0] : [...shade(colours, value / scale), 255], 4 * i));
    context.putImageData(image, 0, 0);
    return canvas;
}

/** [t, s] below the pointer, or undefined. */
function cellAt({ clientX, clientY }, picture, { left, top, cell, T, S }) {
    const box = picture.getBoundingClientRect(), points = (left + S * cell) / box.width;
    const s = Math.floor(((clientX - box.left) * points - left) / cell), t = Math.floor(((clientY - box.top) * points - top) / cell);
    return s >= 0 && s < S && t >= 0 && t < T ? [t, s] : undefined;
}

/** Frame row t and column s; -1 is none. */
function mark([row, column], { left, top, cell, T, S }, t, s) {
    const put = (band, shown, x, y, width, height) => {
        band.style.display = shown ? "" : "none";
        Object.entries({ x, y, width, height }).forEach(([name, value]) => band.setAttribute(name, value));
    };
    put(row, t >= 0, left - 1, top + t * cell - 1, S * cell + 1, cell + 1);
    put(column, s >= 0, left + s * cell - 1, top - 1, cell + 1, T * cell + 1);
}
