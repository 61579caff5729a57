/* A chart of numbers that are more or less than zero: a bar each to the right or the left, its name and its number. */

import { svg } from "./dom.mjs";

const WIDTH = 416, ROW = 22, NAME = 140, NUMBER = 52, NOTE = 120;

/** `rows`: [{ name, value, note, strong }], the names short; `total`, if there is one, stands below a line and is no bar. */
export function signedBars(rows, label, total) {
    const noted = rows.some(({ note }) => note), left = NAME, right = WIDTH - NUMBER - (noted ? NOTE : 0), all = total ? [...rows, total] : rows;
    const [least, most] = [Math.min(0, ...rows.map(({ value }) => value)), Math.max(0, ...rows.map(({ value }) => value))];
    const x = (value) => left + ((right - left) * (value - least)) / (most - least || 1), height = ROW * all.length;
    const text = (attributes, words) => svg("text", { "dominant-baseline": "central", ...attributes }, words);
    const drawn = all.map(({ name, value, note, strong }, i) => {
        const y = ROW * i + ROW / 2, bar = total && i === rows.length ? [] : [svg("rect", {
            class: value < 0 ? "bar less" : "bar", x: Math.min(x(value), x(0)), y: y - 7, width: Math.max(Math.abs(x(value) - x(0)), 1), height: 14, rx: 1,
        })];
        return svg("g", { class: strong && "strong" },
            text({ class: "name", x: left - 8, y, "text-anchor": "end" }, name), bar,
            text({ x: right + NUMBER, y, "text-anchor": "end" }, signed(value)),
            note ? [text({ class: "note", x: WIDTH, y, "text-anchor": "end" }, note)] : []);
    });
    return svg("svg", { class: "signed", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, drawn,
        svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: ROW * rows.length }),
        total ? svg("line", { class: "zero", x1: 0, x2: WIDTH, y1: ROW * rows.length, y2: ROW * rows.length }) : undefined);
}

/** "+0.31", "−2.05", with a real minus. */
export const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
