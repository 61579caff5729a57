/* A tree that grows to the right, a column for each step. */

import { svg } from "./dom.mjs";
import { percent, shortened } from "./visible.mjs";

const COLUMN = 96, ROW = 40, WIDE = 72, HIGH = 30; /* points */

/** `steps`: of each, nodes { name, p, parent, open, ends, best }; `parent` is the place of one in the step before, or -1. */
export function tree(steps, label) {
    const rows = rowsOf(steps), count = Math.max(1, ...rows.flat().map((row) => row + 1));
    const x = (step) => (step + 1) * COLUMN - COLUMN + 30, y = (row) => row * ROW + ROW / 2, root = { x: 10, y: y(rows[0]?.length ? mean(rows[0]) : 0) };
    const edges = [], nodes = [];
    steps.forEach((step, i) => step.forEach(({ name, p, parent, open, ends, best }, j) => {
        const to = { x: x(i), y: y(rows[i][j]) }, from = i ? { x: x(i - 1) + WIDE, y: y(rows[i - 1][parent]) } : root, bend = (from.x + to.x) / 2;
        edges.push(svg("path", { class: best ? "edge best" : "edge", d: `M${from.x} ${from.y}C${bend} ${from.y} ${bend} ${to.y} ${to.x} ${to.y}` }));
        nodes.push(svg("g", { class: `node ${ends ? "ends" : open ? "open" : "dropped"}${best ? " best" : ""}` },
            svg("rect", { x: to.x, y: to.y - HIGH / 2, width: WIDE, height: HIGH, rx: 5 }),
            svg("text", { class: "name", x: to.x + WIDE / 2, y: to.y - 6, "text-anchor": "middle", "dominant-baseline": "central" }, shortened(name, 8)),
            svg("text", { class: "tick", x: to.x + WIDE / 2, y: to.y + 8, "text-anchor": "middle", "dominant-baseline": "central" }, percent(p))));
    }));
    const [width, height] = [x(steps.length) + 10, count * ROW];
    return svg("svg", { class: "tree", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
        edges, svg("circle", { class: "root", cx: root.x, cy: root.y, r: 5 }), nodes);
}

/** The row of each node: leaves one below the other, in the order of the tree, and a parent between its children. */
function rowsOf(steps) {
    const rows = steps.map((step) => step.map(() => 0)), children = (i, j) => (steps[i] ?? []).flatMap(({ parent }, k) => (parent === j ? [k] : []));
    let next = 0;
    const put = (i, j) => {
        const below = children(i + 1, j).map((k) => put(i + 1, k));
        return (rows[i][j] = below.length ? mean(below) : next++);
    };
    children(0, -1).forEach((j) => put(0, j));
    return rows;
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
