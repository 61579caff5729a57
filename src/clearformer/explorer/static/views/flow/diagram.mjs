/* The diagram: a box for each part of the model, with its shape, and of the chosen token a strip of its vector. */

import { palette, rgb, shade } from "../../colours.mjs";
import { roving, svg } from "../../dom.mjs";
import { cut, percent, shortened } from "../../visible.mjs";
import { KINDS } from "./kinds.mjs";
import { STREAM, layoutOf, linesOf } from "./layout.mjs";
import { brief, largest, length } from "./words.mjs";

const CELLS = 40; /* of a strip, at most */

/** An SVG of `diagram` (boxes.mjs). `c` as words.mjs has it, with `sizes`: a function from a box to { letter: size };
    `press` is called with a box. */
export function diagramPicture(diagram, c, chosen, beside, press) {
    const { width, height, columns } = layoutOf(diagram, beside), colours = palette();
    const drawn = columns.map((column) => svg("g", { class: "stack" },
        column.title && svg("text", { class: "heading", x: column.x + STREAM - 6, y: column.y + 14 }, column.title),
        column.panels.flatMap(({ title, x, y, width: wide, height: high }) => [
            svg("rect", { class: "panel", x, y, width: wide, height: high, rx: 6 }), svg("text", { class: "title", x: x + 9, y: y + 15 }, title),
        ]),
        svg("line", { class: "stream", x1: column.x + STREAM, y1: column.from, x2: column.x + STREAM, y2: column.to }),
        linesOf(column).flatMap(arrow), beside && memory(column, columns[0]),
        column.boxes.map((placed) => boxOf(placed, c, chosen, colours, press))));
    const picture = svg("svg", { class: "diagram", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "The model; each box is a button" },
        svg("defs", {}, svg("marker", { id: "head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" }, svg("path", { class: "head", d: "M0,0 L8,4 L0,8 z" }))),
        drawn);
    picture.style.maxWidth = `${width * 1.15}px`;
    roving(picture);
    return picture;
}

function arrow({ from: [x1, y1], to: [x2, y2], sum }) {
    const radius = 7, end = sum ? x2 + radius : x2, plus = (dx, dy) => svg("line", { class: "plus", x1: x2 - dx, y1: y2 - dy, x2: x2 + dx, y2: y2 + dy });
    const line = svg("line", { class: "arrow", x1, y1, x2: end, y2, "marker-end": "url(#head)" });
    return sum ? [line, svg("circle", { class: "sum", cx: x2, cy: y2, r: radius }), plus(4, 0), plus(0, 4)] : [line];
}

/** From the end of the encoder to the decoder's cross-attention. */
function memory(column, encoder) {
    const from = encoder.boxes.find(({ box }) => box.kind === "end"), to = column.panels.find(({ cross }) => cross);
    return to && svg("path", { class: "arrow", fill: "none", "marker-end": "url(#head)", d: `M${from.x + from.width},${from.y + from.height / 2} H${column.x - 22} V${to.y + 11} H${to.x}` });
}

function boxOf({ box, x, y, width, height }, c, chosen, colours, press) {
    const { title } = KINDS[box.kind], name = typeof title === "string" ? title : title(box), narrow = width < 150, shape = c.shape(box, width < 250), number = numberOf(box, c), act = () => press(box);
    const folded = box.kind === "folded", middle = y + height / 2, pad = 8;
    const group = svg("g", {
        class: `box ${box.kind}`, role: "button", "aria-pressed": String(box.id === chosen), "data-box": box.id, "aria-label": `${name}, ${c.shape(box)}, ${number}`,
        click: act, keydown: (event) => ["Enter", " "].includes(event.key) && (event.preventDefault(), act()),
    }, svg("rect", { class: "frame", x, y, width, height, rx: 5 }));
    const text = (kind, at, line, words, anchor = "start") => svg("text", { class: kind, x: at, y: line, "text-anchor": anchor, "dominant-baseline": "central" }, words);
    if (folded) group.append(text("name-of", x + pad, middle, `▸ ${name}`), text("number-of", x + width - pad, middle, number, "end"));
    else group.append(
        text("name-of", x + pad, y + 14, name), narrow ? text("shape-of", x + pad, y + 29, shape) : text("shape-of", x + width - pad, y + 14, shape, "end"),
        narrow ? "" : text("number-of", x + width - pad, y + 33, number, "end"), ...strip(box, c, colours, { x: x + pad, y: narrow ? y + 37 : y + 28, width: narrow ? width - 2 * pad : width - 112, height: narrow ? 5 : 10 }));
    return group;
}

/** What stands on the right of a box: the norm of the chosen token's vector, or what says more. */
function numberOf(box, c) {
    const { row, width } = c.found[box.id], best = largest(row);
    if (box.kind === "tokens") return `${shortened(c.chosen(box), 8)} is ${row[0]}`;
    if (box.kind === "probabilities") return `${cut(c.output(best), 7)} ${percent(row[best])}`;
    if (box.kind === "weights") return `most: ${percent(Math.max(...row.subarray(c.head * width, (c.head + 1) * width)))}`;
    return box.kind === "logits" ? `largest ${brief(row[best])}` : `norm ${brief(length(row))}`;
}

/** The vector in at most CELLS cells, each the number of largest size in its range. */
function strip(box, { found, head }, colours, { x, y, width, height }) {
    const { row, width: columns } = found[box.id], numbers = box.kind === "weights" ? row.subarray(head * columns, (head + 1) * columns) : row;
    if (box.kind === "tokens") return [];
    const per = Math.ceil(numbers.length / CELLS), count = Math.ceil(numbers.length / per), scale = numbers.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
    return Array.from({ length: count }, (_, i) => {
        const some = numbers.subarray(i * per, (i + 1) * per), value = some[largest(some.map(Math.abs))];
        return svg("rect", { x: x + (i * width) / count, y, width: width / count + 0.4, height, fill: rgb(shade(colours, value / scale)) });
    });
}
