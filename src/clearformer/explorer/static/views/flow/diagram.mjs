/* The diagram: a box for each part of the model, with its shape, and of the chosen token a strip of its vector. */

import { palette } from "../../colours.mjs";
import { central, pressed, roving, svg } from "../../dom.mjs";
import { cut, percent, shortened } from "../../visible.mjs";
import { titleOf } from "./kinds.mjs";
import { STREAM, arrowsOf, layoutOf } from "./layout.mjs";
import { brief, largest, length } from "../../numbers.mjs";
import { strip } from "./strip.mjs";

const LARGER = 1.15; /* the most that it is drawn larger than its points */
const NARROW = 150, SHORT = 250; /* points: narrower boxes have their shape below the name, or without signs */
const PAD = 8, SUM = 7, PLUS = 4; /* points: around texts, and sizes of the sign of a sum */

/** An SVG of `diagram` (boxes.mjs), of which the box with the id `chosen` is pressed; `c` as kinds.mjs has it. With
    `beside` two stacks stand beside each other. `press` is called with a box. */
export function diagramPicture(diagram, c, chosen, beside, press) {
    const { width, height, columns } = layoutOf(diagram, beside), colours = palette();
    const box = (placed) => boxOf(placed, c, colours, placed.box.id === chosen, () => press(placed.box));
    const drawn = columns.map((column) => svg("g", { class: "stack" }, frameOf(column), arrowsOf(column).flatMap(arrow),
        beside && memoryOf(column, columns[0]), column.boxes.map(box)));
    const about = { class: "diagram", role: "group", "aria-label": "The model; each box is a button" };
    const size = { viewBox: `0 0 ${width} ${height}`, css: { "max-width": `${width * LARGER}px` } };
    const picture = svg("svg", { ...about, ...size }, svg("defs", {}, arrowHead()), drawn);
    roving(picture);
    return picture;
}

function arrowHead() {
    const size = { refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" };
    return svg("marker", { id: "head", ...size }, svg("path", { class: "head", d: "M0,0 L8,4 L0,8 z" }));
}

/** The heading, the panels with their titles, and the stream. */
function frameOf({ x, y, title, panels, from, to }) {
    const stream = { x1: x + STREAM, y1: from, x2: x + STREAM, y2: to };
    return [
        title && svg("text", { class: "heading", x: x + STREAM - 6, y: y + 14 }, title),
        ...panels.flatMap(({ title: words, crosses: _, ...place }) => [
            svg("rect", { class: "panel", ...place, rx: 6 }),
            svg("text", { class: "title", x: place.x + PAD, y: place.y + 15 }, words),
        ]),
        svg("line", { class: "stream", ...stream }),
    ].filter(Boolean);
}

function arrow({ from: [x1, y1], to: [x2, y2], sum }) {
    const line = { class: "arrow", x1, y1, x2: sum ? x2 + SUM : x2, y2, "marker-end": "url(#head)" };
    const plus = (x, y) => svg("line", { class: "plus", x1: x2 - x, y1: y2 - y, x2: x2 + x, y2: y2 + y });
    const sign = () => [svg("circle", { class: "sum", cx: x2, cy: y2, r: SUM }), plus(PLUS, 0), plus(0, PLUS)];
    return [svg("line", line), ...(sum ? sign() : [])];
}

/** From the end of the encoder to the decoder's cross-attention. */
function memoryOf({ x, panels }, encoder) {
    const { x: left, y, width, height } = encoder.boxes.find(({ box }) => box.kind === "end");
    const to = panels.find(({ crosses }) => crosses);
    const d = to && `M${left + width},${y + height / 2} H${x - 22} V${to.y + 11} H${to.x}`;
    return to && svg("path", { class: "arrow", fill: "none", "marker-end": "url(#head)", d });
}

function boxOf({ box, x, y, width, height }, c, colours, isChosen, press) {
    const name = titleOf(box, c), number = numberOf(box, c), narrow = width < NARROW, right = x + width - PAD;
    const about = {
        class: `box ${box.kind}`, "aria-pressed": String(isChosen), "data-box": box.id,
        "aria-label": `${name}, ${c.shape(box)}, ${number}`, ...pressed(press),
    };
    const text = (kind, at, line, words) => svg("text", {
        class: kind, x: at, y: y + line, "text-anchor": at === right ? "end" : "start", ...central,
    }, words);
    const place = narrow
        ? { x: x + PAD, y: y + 37, width: width - 2 * PAD, height: 5 }
        : { x: x + PAD, y: y + 28, width: width - 112, height: 10 };
    const shape = narrow
        ? text("shape-of", x + PAD, 29, c.shape(box, true))
        : text("shape-of", right, 14, c.shape(box, width < SHORT));
    const inside = box.kind === "folded"
        ? [text("name-of", x + PAD, height / 2, `▸ ${name}`), text("number-of", right, height / 2, number)]
        : [
            text("name-of", x + PAD, 14, name), shape, narrow ? undefined : text("number-of", right, 33, number),
            ...strip(vectorOf(box, c), place, colours),
        ];
    return svg("g", about, svg("rect", { class: "frame", x, y, width, height, rx: 5 }), inside);
}

/** Of the chosen token, and of weights in the chosen head. */
function vectorOf({ id, kind }, { found, head }) {
    const { row, width } = found[id];
    if (kind === "tokens") return row.subarray(0, 0);
    return kind === "weights" ? row.subarray(head * width, (head + 1) * width) : row;
}

/** What stands on the right of a box: the norm of the chosen token's vector, or what says more. */
function numberOf(box, c) {
    const { row } = c.found[box.id], vector = vectorOf(box, c), best = largest(vector);
    if (box.kind === "tokens") return `${shortened(c.chosen(box), 8)} is ${row[0]}`;
    if (box.kind === "probabilities") return `${cut(c.output(best), 7)} ${percent(row[best])}`;
    if (box.kind === "weights") return `most: ${percent(vector[best])}`;
    return box.kind === "logits" ? `largest ${brief(row[best])}` : `norm ${brief(length(row))}`;
}
