/* A tree that grows to the right, a column for each step. */

import { central, svg } from "./dom.mjs";
import { percent, shortened } from "./visible.mjs";

const COLUMN = 96, ROW = 40, WIDE = 72, HIGH = 30, ROOT = { x: 10, gap: 30 }; /* points */

/** `steps`: of each, nodes { name, p, parent, kind, best }; `parent` is the place of one in the step before, or -1, and
    `kind` open, ends or dropped. */
export function tree(steps, label) {
    const rows = rowsOf(steps), x = (step) => step * COLUMN + ROOT.gap, y = (row) => (row + 0.5) * ROW;
    const root = y(rows[0] ? mean(rows[0]) : 0), edges = [], nodes = [];
    steps.forEach((step, i) => step.forEach(({ name, p, parent, kind, best }, j) => {
        const to = [x(i), y(rows[i][j])], from = i ? [x(i - 1) + WIDE, y(rows[i - 1][parent])] : [ROOT.x, root];
        edges.push(svg("path", { class: best ? "edge best" : "edge", d: curve(from, to) }));
        const centred = { x: to[0] + WIDE / 2, "text-anchor": "middle", ...central };
        const text = (name, down, words) => svg("text", { class: name, y: to[1] + down, ...centred }, words);
        nodes.push(svg("g", { class: best ? `node ${kind} best` : `node ${kind}` },
            svg("rect", { x: to[0], y: to[1] - HIGH / 2, width: WIDE, height: HIGH, rx: 5 }),
            text("name", -6, shortened(name, 8)), text("tick", 8, percent(p))));
    }));
    const width = x(steps.length), height = ROW * (1 + Math.max(0, ...rows.flat()));
    const about = { class: "tree", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label };
    return svg("svg", about, edges, svg("circle", { class: "root", cx: ROOT.x, cy: root, r: 5 }), nodes);
}

function curve([x, y], [toX, toY]) {
    const middle = (x + toX) / 2;
    return `M${x} ${y}C${middle} ${y} ${middle} ${toY} ${toX} ${toY}`;
}

/** The row of each node: leaves one below the other, in the order of the tree, and a parent between its children. */
function rowsOf(steps) {
    const rows = steps.map((step) => step.map(() => 0));
    const children = (i, j) => (steps[i] ?? []).flatMap(({ parent }, k) => (parent === j ? [k] : []));
    let next = 0;
    const put = (i, j) => {
        const below = children(i + 1, j).map((k) => put(i + 1, k));
        return (rows[i][j] = below.length ? mean(below) : next++);
    };
    children(0, -1).forEach((j) => put(0, j));
    return rows;
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
