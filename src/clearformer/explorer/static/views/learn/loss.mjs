/* Loss by steps, of one or two runs, as training wrote it to metrics.jsonl. */

import { svg } from "../../dom.mjs";
import { cut, printable } from "../../visible.mjs";

const NARROWEST = 340, WIDEST = 840, HEIGHT = 250, LEFT = 46, RIGHT = 16, TOP = 12, BOTTOM = 46, ROW = 19, LEGEND = 190, TICKS = 5; /* points */

/** `runs`: [{ name, lines, steps, at }], lines as in the file, steps those of checkpoints, of which number `at` is shown.
    `press` is called with the number of the first run's checkpoint that is nearest to a click. `room`: for its width. */
export function lossChart(runs, room, press) {
    const width = Math.min(Math.max(room, NARROWEST), WIDEST), across = width - LEFT - RIGHT;
    const all = runs.map((run) => ({ ...run, curves: curvesOf(run.lines) })), points = all.flatMap(({ curves }) => curves.flatMap(({ points: each }) => each));
    const end = Math.max(...points.map(([step]) => step), ...all.flatMap(({ steps }) => steps), 1), losses = points.map(([, loss]) => loss);
    const [least, most] = [Math.min(...losses), Math.max(...losses)], low = least - 0.05 * (most - least || 1), high = most + 0.05 * (most - least || 1);
    const x = (step) => LEFT + (step / end) * across, y = (loss) => TOP + ((high - loss) / (high - low)) * (HEIGHT - TOP - BOTTOM), floor = HEIGHT - BOTTOM;
    const picture = svg("svg", { class: "loss", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": all.map(described).join("; ") },
        round(low, high).flatMap((loss) => grid(LEFT, y(loss), width - RIGHT, y(loss), LEFT - 7, y(loss), "end", loss)),
        round(0, end).flatMap((step) => grid(x(step), floor, x(step), floor + 4, x(step), floor + 15, "middle", step)),
        svg("text", { class: "tick", x: width - RIGHT, y: floor + 34, "text-anchor": "end", "dominant-baseline": "central" }, "step"),
        all.flatMap(({ curves }, n) => curves.flatMap(({ kind, points: each }) => [
            svg("polyline", { class: `${kind} run-${n}`, points: each.map(([step, loss]) => `${x(step)},${y(loss)}`).join(" ") }),
            ...(kind === "validation" ? each.map(([step, loss]) => svg("circle", { class: `run-${n}`, cx: x(step), cy: y(loss), r: 2.5 })) : []),
        ])),
        all.flatMap((run, n) => marks(run, n, x, floor)), legend(all, width - RIGHT - (all.length > 1 ? LEGEND : 112)));
    picture.addEventListener("click", ({ clientX }) => {
        const box = picture.getBoundingClientRect(), step = (((clientX - box.left) / box.width * width - LEFT) / across) * end;
        press(nearest(all[0].steps, step));
    });
    return picture;
}

/** Training and validation: [{ kind, points [step, loss] }]; what is not a number is left out. */
function curvesOf(lines) {
    const points = (name) => lines.filter((line) => Number.isFinite(line?.step) && Number.isFinite(line[name])).map((line) => [line.step, line[name]]);
    return [["training", "loss"], ["validation", "validation_loss"]].map(([kind, name]) => ({ kind, points: points(name) })).filter((curve) => curve.points.length);
}

const described = ({ name, curves, steps, at }) =>
    `Loss of ${printable(name)} at step ${steps[at]}; ${curves.map(({ kind, points }) => `${kind} from ${points[0][1].toFixed(2)} to ${points.at(-1)[1].toFixed(2)}`).join(", ")}`;

/** About TICKS round numbers within a range. */
function round(low, high) {
    const rough = (high - low) / TICKS, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map((n) => n * power).find((each) => each >= rough);
    return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, i) => Number(((Math.ceil(low / step) + i) * step).toPrecision(12)));
}

const grid = (x1, y1, x2, y2, x, y, anchor, value) => [
    svg("line", { class: "grid", x1, y1, x2, y2 }),
    svg("text", { class: "tick", x, y, "text-anchor": anchor, "dominant-baseline": "central" }, value.toLocaleString("en")),
];

/** A mark for each checkpoint, and a line at the one that is shown. */
const marks = ({ steps, at }, n, x, floor) => steps.flatMap((step, i) => [
    svg("path", { class: i === at ? `checkpoint shown run-${n}` : `checkpoint run-${n}`, d: `M${x(step)},${floor - 1} l-4,-7 h8 z` }),
    ...(i === at ? [svg("line", { class: `now run-${n}`, x1: x(step), x2: x(step), y1: TOP, y2: floor })] : []),
]);

/** What the lines are, on the right, where losses are low. */
function legend(all, x) {
    const named = all.flatMap(({ name, curves }, n) => curves.map(({ kind }) => ({ words: all.length > 1 ? `${cut(printable(name), 10)}, ${kind}` : kind, n, kind })));
    const lines = named.flatMap(({ words, n, kind }, i) => {
        const y = TOP + 8 + i * ROW;
        return [svg("polyline", { class: `${kind} run-${n}`, points: `${x},${y} ${x + 24},${y}` }), svg("text", { class: `${kind} run-${n}`, x: x + 31, y, "dominant-baseline": "central" }, words)];
    });
    return [svg("rect", { class: "legend", x: x - 8, y: TOP - 4, width: LEGEND, height: named.length * ROW + 5 }), ...lines];
}

const nearest = (steps, to) => steps.reduce((best, step, i) => (Math.abs(step - to) < Math.abs(steps[best] - to) ? i : best), 0);

/** The numbers of the chart, as a table. */
export function lossRows(runs) {
    const number = (x) => (Number.isFinite(x) ? x : "");
    return [["run", "step", "loss", "validation loss"], ...runs.flatMap(({ name, lines }) => lines.map((line) => [name, number(line?.step), number(line?.loss), number(line?.validation_loss)]))];
}
