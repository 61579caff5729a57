/* Where the boxes of a diagram stand: columns beside or below each other, the residual stream on the left of each. */

export const STREAM = 14; /* points from the left of a column */
const WIDTH = 380, GUTTER = 44, PANEL = 32, INSET = 8; /* of a column, between two, left of panels, within them */
const HEIGHT = 46, FOLDED = 30, GAP = 9, TITLE = 21, BETWEEN = 12, HEADING = 26;

/** { width, height, columns: [{ x, y, title, panels, boxes, from, to }] }: a panel is { title, crosses, x, y, width,
    height }, a box { box, x, y, width, height, row, group }; the stream of a column is drawn from `from` to `to`. */
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
    groups.forEach(({ title: name, crosses, rows }, group) => {
        const start = y, inset = name ? INSET : 0;
        y += name ? TITLE : 0;
        rows.forEach((row, number) => {
            boxes.push(...placeRow(row, x + PANEL + inset, y, WIDTH - PANEL - 2 * inset, { row: number, group }));
            y += boxes.at(-1).height + GAP;
        });
        y += inset - GAP;
        const panel = { title: name, crosses, x: x + PANEL, y: start, width: WIDTH - PANEL, height: y - start };
        if (name) panels.push(panel);
        y += BETWEEN;
    });
    const middle = (kind) => {
        const found = boxes.find(({ box }) => box.kind === kind);
        return found && found.y + found.height / 2;
    };
    const from = middle("input") ?? middle("embedding");
    return { x, y: top, title, panels, boxes, from, to: middle("end"), bottom: y - BETWEEN };
}

/** Attention weights leave room for the line from the values above. */
function placeRow(row, x, y, room, more) {
    const share = row[0].kind === "weights" ? 2 / 3 : 1 / row.length, width = (room + GAP) * share - GAP;
    const height = row[0].kind === "folded" ? FOLDED : HEIGHT;
    return row.map((box, i) => ({ box, x: x + i * (width + GAP), y, width, height, ...more }));
}

/** Arrows between the boxes of a column, and from and to its stream: { from: [x, y], to: [x, y], sum }. */
export function arrowsOf({ x, boxes, from, to }) {
    const stream = x + STREAM;
    return boxes.flatMap((each) => {
        const centre = each.x + each.width / 2, bottom = each.y + each.height, middle = each.y + each.height / 2;
        const isBelow = (other) => other.group === each.group && other.row > each.row &&
            other.x <= centre && centre <= other.x + other.width;
        const below = boxes.find(isBelow), arrows = below ? [{ from: [centre, bottom], to: [centre, below.y] }] : [];
        const edge = [each.x, middle], line = [stream, middle], { kind, layer } = each.box;
        const reads = layer !== undefined && each.row === 0 && boxes.find(({ group }) => group === each.group) === each;
        if (middle === from) arrows.push({ from: edge, to: line });
        else if (kind === "folded" || kind === "residual") arrows.push({ from: edge, to: line, sum: true });
        else if (middle === to || reads) arrows.push({ from: line, to: edge });
        return arrows;
    });
}
