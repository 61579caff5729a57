/* A table of words as a picture: a cell for each row and column, shaded by a share; a press chooses one. */

import { inkOn, palette, rgb, shade } from "./colours.mjs";
import { svg } from "./dom.mjs";
import { shortened } from "./visible.mjs";

const WIDE = 84, HIGH = 40, TOP = 26, LETTER = 7.9, LETTERS = 9; /* letters in a cell */

/** `rows` and `columns` are names; cell(r, c) is { text, note, share, framed, label }. `chosen` is [r, c], and press(r, c)
    is called with another. */
export function cells({ rows, columns, cell, chosen, press, label }) {
    const left = Math.max(...rows.map((name) => name.length)) * LETTER * 0.85 + 12, colours = palette();
    const width = left + columns.length * WIDE, height = TOP + rows.length * HIGH;
    const text = (attributes, words) => svg("text", { "dominant-baseline": "central", ...attributes }, words);
    const one = (r, c) => {
        const { text: words, note, share, framed, label: name } = cell(r, c), pressed = r === chosen[0] && c === chosen[1];
        const [x, y] = [left + c * WIDE, TOP + r * HIGH];
        const fill = shade(colours, share), ink = { fill: inkOn(fill) }, middle = { x: x + WIDE / 2 - 1, "text-anchor": "middle", css: ink };
        const button = { role: "button", tabindex: pressed ? 0 : -1, "aria-label": name, "aria-pressed": String(pressed) };
        return svg("g", { class: "cell", ...button, "data-row": r, "data-column": c },
            svg("rect", { class: framed && "framed", x: x + 1, y: y + 1, width: WIDE - 3, height: HIGH - 3, rx: 3, fill: rgb(fill) }),
            text({ ...middle, class: "name", y: y + 13 }, shortened(words, LETTERS)), text({ ...middle, class: "number", y: y + 28 }, note));
    };
    const rowNames = svg("g", { class: "row-names" }, svg("rect", { x: -4, width: left + 4, height, fill: rgb(colours.paper) }),
        rows.map((name, r) => text({ x: left - 8, y: TOP + (r + 0.5) * HIGH, "text-anchor": "end" }, name)));
    const names = columns.map((name, c) =>
        text({ class: "name", x: left + (c + 0.5) * WIDE, y: TOP / 2, "text-anchor": "middle" }, shortened(name, LETTERS)));
    const all = rows.map((_, r) => svg("g", { role: "group", "aria-label": rows[r] }, columns.map((_, c) => one(r, c))));
    const pressed = ({ target }) => target.closest(".cell") && press(...placeOf(target));
    const listeners = { click: pressed, keydown: (event) => key(event, pressed) };
    return svg("svg", { class: "cells", viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label, ...listeners },
        names, all, rowNames);
}

/** Scroll what contains the picture to the chosen cell; the names of the rows stay where they are. */
export function reveal(picture) {
    const host = picture.parentElement, names = picture.querySelector(".row-names"), shown = host.getBoundingClientRect();
    const cell = picture.querySelector("[aria-pressed=true]").getBoundingClientRect();
    host.onscroll = () => (names.style.transform = `translateX(${host.scrollLeft}px)`);
    const hidden = cell.right > shown.right || cell.left < names.getBoundingClientRect().right;
    if (hidden) host.scrollLeft += (cell.left + cell.right - shown.left - shown.right) / 2;
    host.onscroll();
}

const placeOf = (target) => ["row", "column"].map((name) => Number(target.closest(".cell").dataset[name]));

/** Arrow keys move, Enter and the space bar press. */
function key(event, pressed) {
    const [r, c] = placeOf(event.target);
    const to = { ArrowDown: [r + 1, c], ArrowUp: [r - 1, c], ArrowRight: [r, c + 1], ArrowLeft: [r, c - 1] }[event.key];
    if (to) event.currentTarget.querySelector(`[data-row="${to[0]}"][data-column="${to[1]}"]`)?.focus();
    else if (event.key === "Enter" || event.key === " ") pressed(event);
    else return;
    event.preventDefault();
}
