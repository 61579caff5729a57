/* Loss by steps, of one or two runs, as training wrote it to metrics.jsonl. */

import { central, svg } from "../../dom.mjs";
import { nearest } from "../../numbers.mjs";
import { cut, printable } from "../../visible.mjs";

const NARROWEST = 340, WIDEST = 840, HEIGHT = 250, LEFT = 46, RIGHT = 16, TOP = 12, BOTTOM = 46; /* points */
const BASE = HEIGHT - BOTTOM, TICKS = 5, MARGIN = 0.05; /* above and below the curves, as a share of their height */
const LEGEND = { line: 24, row: 19, one: 112, two: 190 }; /* points: lines, rows, and widths for one run and two */
const CURVES = { training: "loss", validation: "validation_loss" };

/** `runs`: [{ name, lines, steps, at }], with the lines of the file, and the steps of the checkpoints, of which number
    `at` is shown; one of them has a loss. `room`: for its width. `press` is called with the number of the first run's
    checkpoint that is nearest to a click. */
export function lossChart(runs, room, press) {
    const width = Math.min(Math.max(room, NARROWEST), WIDEST);
    const all = runs.map((run) => ({ ...run, curves: curvesOf(run) }));
    const points = all.flatMap(({ curves }) => curves.flatMap((curve) => curve.points));
    const losses = points.map(([, loss]) => loss), [least, most] = [Math.min(...losses), Math.max(...losses)];
    const margin = MARGIN * (most - least || 1), low = least - margin, high = most + margin;
    const end = Math.max(...points.map(([step]) => step), ...all.flatMap(({ steps }) => steps), 1);
    const x = (step) => LEFT + (step / end) * (width - LEFT - RIGHT);
    const y = (loss) => TOP + ((high - loss) / (high - low)) * (BASE - TOP);
    const about = { class: "loss", role: "img", "aria-label": all.map(described).join("; ") };
    const picture = svg("svg", { ...about, viewBox: `0 0 ${width} ${HEIGHT}` },
        rounded(low, high).flatMap((loss) => [
            svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(loss), y2: y(loss) }),
            tick(LEFT - 7, y(loss), "end", loss.toLocaleString("en")),
        ]),
        rounded(0, end).map((step) => tick(x(step), BASE + 15, "middle", step.toLocaleString("en"))),
        tick(width - RIGHT, BASE + 34, "end", "step"),
        all.flatMap(({ curves }, n) => curves.flatMap((curve) => curveOf(curve, n, x, y))),
        all.flatMap((run, n) => marksOf(run, n, x)), legend(all, width - RIGHT));
    picture.addEventListener("click", ({ clientX }) => {
        const { left, width: wide } = picture.getBoundingClientRect(), at = ((clientX - left) / wide) * width;
        press(nearest(all[0].steps.map(x), at));
    });
    return picture;
}

/** Those that there are, [{ kind, points [step, loss] }]; what is not a number is left out. */
function curvesOf({ lines }) {
    const pairs = (name) => lines.map((line) => [line?.step, line?.[name]]);
    const points = (name) => pairs(name).filter((pair) => pair.every(Number.isFinite));
    const all = Object.entries(CURVES).map(([kind, name]) => ({ kind, points: points(name) }));
    return all.filter((curve) => curve.points.length);
}

function described({ name, curves, steps, at }) {
    const ends = ({ kind, points }) => `${kind} from ${points[0][1].toFixed(2)} to ${points.at(-1)[1].toFixed(2)}`;
    return `Loss of ${printable(name)}: ${curves.map(ends).join(", ")}; step ${steps[at]} is shown`;
}

/** About TICKS round numbers within a range. */
function rounded(low, high) {
    const rough = (high - low) / TICKS, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((each) => each >= rough), first = Math.ceil(low / step);
    const count = Math.floor(high / step) - first + 1;
    return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(9)));
}

const tick = (x, y, anchor, words) => svg("text", { class: "tick", x, y, "text-anchor": anchor, ...central }, words);

function curveOf({ kind, points }, n, x, y) {
    const dots = kind === "validation" ? points : []; /* few, and maybe only one */
    const corners = points.map(([step, loss]) => `${x(step)},${y(loss)}`).join(" ");
    return [
        svg("polyline", { class: `${kind} run-${n}`, points: corners }),
        ...dots.map(([step, loss]) => svg("circle", { class: `run-${n}`, cx: x(step), cy: y(loss), r: 2.5 })),
    ];
}

/** A triangle for each checkpoint, and a line at the one that is shown. */
function marksOf({ steps, at }, n, x) {
    const triangle = (step, i) => svg("path", {
        class: `checkpoint run-${n} ${i === at ? "shown" : ""}`, d: `M${x(step)},${BASE - 1} l-4,-7 h8 z`,
    });
    const now = { class: `now run-${n}`, x1: x(steps[at]), x2: x(steps[at]), y1: TOP, y2: BASE };
    return [...steps.map(triangle), svg("line", now)];
}

/** On the right, where losses are low. */
function legend(all, right) {
    const { line, row, one, two } = LEGEND, width = all.length > 1 ? two : one, x = right - width;
    const of = ({ name }) => (all.length > 1 ? `${cut(printable(name), 10)}, ` : "");
    const kinds = all.flatMap((run, n) => run.curves.map(({ kind }) => [`${kind} run-${n}`, `${of(run)}${kind}`]));
    const listed = kinds.flatMap(([name, words], i) => {
        const y = TOP + 8 + i * row, text = { class: name, x: x + line + 7, y, ...central };
        return [svg("polyline", { class: name, points: `${x},${y} ${x + line},${y}` }), svg("text", text, words)];
    });
    return [svg("rect", { class: "legend", x: x - 8, y: TOP - 4, width, height: kinds.length * row + 5 }), ...listed];
}

/** The numbers of the chart, as a table. */
export function lossRows(runs) {
    const number = (x) => (Number.isFinite(x) ? x : "");
    const row = (name, line) => [name, ...["step", "loss", "validation_loss"].map((key) => number(line?.[key]))];
    const rows = runs.flatMap(({ name, lines }) => lines.map((line) => row(name, line)));
    return [["run", "step", "loss", "validation loss"], ...rows];
}
