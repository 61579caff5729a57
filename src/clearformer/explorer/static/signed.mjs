/* A chart of numbers that are more or less than zero: a bar each to the right or the left, its name and its number. */

import { central, svg } from "./dom.mjs";

const WIDTH = 416, ROW = 22, BAR = 14, NAME = 140, NUMBER = 52, NOTE = 120;

/** `rows`: [{ name, value, note, strong }], the names short; `total`, if there is one, stands below a line, without a
    bar. */
export function signedBars(rows, label, total) {
    const values = rows.map(({ value }) => value), least = Math.min(0, ...values), most = Math.max(0, ...values);
    const right = WIDTH - NUMBER - (rows.some(({ note }) => note) ? NOTE : 0), all = total ? [...rows, total] : rows;
    const x = (value) => NAME + ((right - NAME) * (value - least)) / (most - least || 1), end = ROW * rows.length;
    const line = (from, to) => svg("line", { class: "zero", x1: from.x, y1: from.y, x2: to.x, y2: to.y });
    const drawn = all.map(({ name, value, note, strong }, i) => {
        const y = ROW * (i + 0.5), place = { y, "text-anchor": "end", ...central };
        const bar = { x: Math.min(x(value), x(0)), width: Math.max(Math.abs(x(value) - x(0)), 1) };
        const shape = { y: y - BAR / 2, height: BAR, rx: 1, class: value < 0 ? "bar less" : "bar" };
        return svg("g", { class: strong && "strong" },
            svg("text", { class: "name", x: NAME - 8, ...place }, name),
            i < rows.length && svg("rect", { ...bar, ...shape }),
            svg("text", { x: right + NUMBER, ...place }, signed(value)),
            note !== undefined && svg("text", { class: "note", x: WIDTH, ...place }, note));
    });
    const size = { viewBox: `0 0 ${WIDTH} ${ROW * all.length}` };
    return svg("svg", { class: "signed", ...size, role: "img", "aria-label": label }, drawn,
        line({ x: x(0), y: 0 }, { x: x(0), y: end }), total && line({ x: 0, y: end }, { x: WIDTH, y: end }));
}

/** "+0.31", "−2.05", with a real minus. */
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
