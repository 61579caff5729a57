/* A table of words as a picture: a cell for each row and column, shaded by a share; a press chooses one. */

import { inkOn, palette, rgb, shade } from "./colours.mjs";
import { central, svg } from "./dom.mjs";
import { shortened } from "./visible.mjs";

const WIDE = 84, HIGH = 40, TOP = 26, LETTER = 6.8, LETTERS = 9; /* points, and letters in a cell */
const EDGE = 4; /* of the row's names, beyond the picture */
const middle = { ...central, "text-anchor": "middle" };

/** `rows` and `columns` are names; cell(r, c) is { text, note, share, framed, label }. `chosen` is [r, c], and
    press(r, c) is called with another. */
export function cells({ rows, columns, cell, chosen, press, label }) {
    const left = Math.max(...rows.map((name) => name.length)) * LETTER + 12, colours = palette();
    const width = left + columns.length * WIDE, height = TOP + rows.length * HIGH;
    const one = (r, c) => {
        const { text, note, share, framed, label: name } = cell(r, c), x = left + c * WIDE, y = TOP + r * HIGH;
        const fill = shade(colours, share), ink = { x: x + WIDE / 2 - 1, css: { fill: inkOn(fill) }, ...middle };
        const pressed = r === chosen[0] && c === chosen[1], place = { "data-row": r, "data-column": c };
        const state = { "aria-pressed": String(pressed), tabindex: pressed ? 0 : -1 };
        const box = { x: x + 1, y: y + 1, width: WIDE - 3, height: HIGH - 3, rx: 3, fill: rgb(fill) };
        return svg("g", { class: "cell", role: "button", "aria-label": name, ...state, ...place },
            svg("rect", { class: framed && "framed", ...box }),
            svg("text", { class: "name", y: y + 13, ...ink }, shortened(text, LETTERS)),
            svg("text", { class: "number", y: y + 28, ...ink }, note));
    };
    const heads = columns.map((name, c) => {
        const place = { x: left + (c + 0.5) * WIDE, y: TOP / 2, ...middle };
        return svg("text", { class: "name", ...place }, shortened(name, LETTERS));
    });
    const group = (name, r) => svg("g", { role: "group", "aria-label": name }, columns.map((_, c) => one(r, c)));
    const beside = { x: left - 8, "text-anchor": "end", ...central };
    const names = svg("g", { class: "row-names" },
        svg("rect", { x: -EDGE, width: left + EDGE, height, fill: rgb(colours.paper) }),
        rows.map((name, r) => svg("text", { y: TOP + (r + 0.5) * HIGH, ...beside }, name)));
    const pressed = ({ target }) => target.closest(".cell") && press(...placeOf(target));
    const size = { viewBox: `0 0 ${width} ${height}`, width, height };
    const listeners = { click: pressed, keydown: (event) => key(event, pressed) };
    return svg("svg", { class: "cells", role: "group", "aria-label": label, ...size, ...listeners },
        heads, rows.map(group), names);
}

/** Scroll what contains the picture to the chosen cell; the names of the rows stay where they are. */
export function reveal(picture) {
    const host = picture.parentElement, names = picture.querySelector(".row-names");
    const chosen = picture.querySelector("[aria-pressed=true]");
    const [shown, cell, { right }] = [host, chosen, names].map((each) => each.getBoundingClientRect());
    const hidden = cell.right > shown.right || cell.left < right;
    host.onscroll = () => (names.style.transform = `translateX(${host.scrollLeft}px)`);
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
