/* Where the boxes of a diagram stand: columns beside or below each other, the residual stream on the left of each. */

export const WIDTH = 380, STREAM = 14; /* of a column; of the stream in it */
const GUTTER = 44, PANEL = 32, INSET = 8, HEIGHT = 46, FOLDED = 30, GAP = 9, TITLE = 21, BETWEEN = 12, HEADING = 26;

/** { width, height, columns: [{ x, y, title, panels, boxes, from, to }] }: a panel is { title, cross, x, y, width, height }, a box
    { box, x, y, width, height, row, group }; the stream of a column reaches from `from` to `to`. */
export function layoutOf(diagram, beside) {
    let below = 0;
    const columns = diagram.map((column, i) => {
        const placed = place(column, beside ? i * (WIDTH + GUTTER) : 0, beside ? 0 : below);
        below = placed.bottom + BETWEEN;
        return placed;
    });
    const width = beside ? columns.length * (WIDTH + GUTTER) - GUTTER : WIDTH;
    return { width, height: Math.max(...columns.map(({ bottom }) => bottom)), columns };
}

function place({ title, groups }, x, top) {
    const panels = [], boxes = [];
    let y = top + (title ? HEADING : 0);
    groups.forEach(({ title: name, rows, cross }, group) => {
        const folded = rows[0][0].kind === "folded", start = y, inset = name ? INSET : 0;
        if (name) y += TITLE;
        rows.forEach((row, r) => {
            const height = folded ? FOLDED : HEIGHT, across = row.length === 1 && row[0].kind === "weights" ? 2 / 3 : 1 / row.length;
            const room = WIDTH - PANEL - 2 * inset, width = (room + GAP) * across - GAP;
            row.forEach((box, i) => boxes.push({ box, x: x + PANEL + inset + i * (width + GAP), y, width, height, row: r, group, last: r === rows.length - 1 }));
            y += height + GAP;
        });
        y += (name ? INSET : 0) - GAP;
        if (name) panels.push({ title: name, cross, x: x + PANEL, y: start, width: WIDTH - PANEL, height: y - start });
        y += BETWEEN;
    });
    const middle = ({ y: at, height }) => at + height / 2, ends = boxes.find(({ box }) => box.kind === "end");
    const begins = boxes.find(({ box }) => box.kind === "input") ?? boxes.find(({ box }) => box.kind === "embedding");
    return { x, y: top, title, panels, boxes, from: middle(begins), to: middle(ends), bottom: y - BETWEEN };
}

/** Lines between the boxes of a column, and from and to its stream, as { from: [x, y], to: [x, y], sum }. */
export function linesOf({ x, boxes, from, to }) {
    const lines = [], stream = x + STREAM, left = (each) => [each.x, each.y + each.height / 2];
    for (const each of boxes) {
        const below = boxes.find((other) => other.group === each.group && other.row > each.row && other.x <= middleOf(each) && other.x + other.width >= middleOf(each));
        if (below) lines.push({ from: [middleOf(each), each.y + each.height], to: [middleOf(each), below.y] });
        const [edge, y] = left(each);
        if (y === from) lines.push({ from: [edge, y], to: [stream, y] });
        else if (["folded", "residual"].includes(each.box.kind)) lines.push({ from: [edge, y], to: [stream, y], sum: true });
        else if (y === to || (each.box.layer !== undefined && each.row === 0 && each.x === edgeOf(boxes, each))) lines.push({ from: [stream, y], to: [edge, y] });
    }
    return lines;
}

const middleOf = (each) => each.x + each.width / 2;
const edgeOf = (boxes, { group }) => Math.min(...boxes.filter((other) => other.group === group).map((other) => other.x));
