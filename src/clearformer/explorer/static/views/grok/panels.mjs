/* Curves over steps, in panels one below the other, which share a logarithmic axis. Phases are bands behind them. */

import { central, svg } from "../../dom.mjs";
import { count, nearest } from "../../numbers.mjs";
import { logarithmic, linear } from "./scales.mjs";

const NARROWEST = 320, WIDEST = 720, LEFT = 46, RIGHT = 12, TOP = 48, HEAD = 24, HIGH = 76, APART = 12, BOTTOM = 36, NAME = 15;
const LETTER = 6.6, SAMPLE = 22, GAP = 12; /* points: of a letter, a curve in the legend, and between its names */
const STARTED = -1; /* where step 0 stands, which has no logarithm: as if it were step 1/2 */

const DECADES = [0, 1, 10, 100, 1000, 10_000, 100_000];

const place = (step) => (step ? Math.log2(step) : STARTED);

/** `shown`: [{ title, logarithmic, share, curves: [{ name, points: [[step, value]], now }] }]; `phases`: [{ name, first,
    last }]; `steps` of the checkpoints, of which number `at` is marked, with its values `now`. `choose` is called with
    the number of the checkpoint nearest to a click. */
export function panels({ shown, phases, threshold, steps, at, room, choose }) {
    const width = Math.min(Math.max(room, NARROWEST), WIDEST), right = width - RIGHT;
    const curves = shown.flatMap((panel) => panel.curves);
    const all = [...steps, ...curves.flatMap(({ points }) => points.map(([step]) => step))];
    const first = place(Math.min(...all)), last = place(Math.max(...all));
    const x = (step) => LEFT + ((right - LEFT) * (place(step) - first)) / (last - first || 1);
    const top = (i) => TOP + i * (HEAD + HIGH + APART) + HEAD, base = top(shown.length - 1) + HIGH;
    const decades = DECADES.filter((step) => place(step) >= first && place(step) <= last);
    const about = { class: "history", role: "img", "aria-label": described(shown, steps[at]) };
    const picture = svg("svg", { ...about, viewBox: `0 0 ${width} ${base + BOTTOM}` },
        phases.flatMap((phase, n) => bandOf(phase, n, x, shown.map((_, i) => top(i)), right)),
        shown.flatMap((panel, i) => panelOf(panel, { x, top: top(i), right, decades, threshold, step: steps[at] })),
        decades.map((step) => tick(x(step), base + 14, "middle", count(step))), tick(right, base + 29, "end", "step"),
        steps.map((step, i) => svg("path", {
            class: i === at ? "checkpoint shown" : "checkpoint", d: `M${x(step)},${base} l-4,7 h8 z`,
        })),
        svg("line", { class: "now", x1: x(steps[at]), x2: x(steps[at]), y1: TOP, y2: base }));
    picture.addEventListener("click", ({ clientX }) => {
        const { left, width: wide } = picture.getBoundingClientRect();
        choose(nearest(steps.map(x), ((clientX - left) / wide) * width));
    });
    return picture;
}

const tick = (x, y, anchor, words) => svg("text", { class: "tick", x, y, "text-anchor": anchor, ...central }, words);

/** A phase behind every panel, and its name above them, in a row of its own, as near to its middle as it can be. */
function bandOf({ name, first, last }, n, x, tops, right) {
    const from = x(first), to = x(last), half = (name.length * LETTER) / 2, y = NAME * (n + 0.5);
    const middle = Math.min(Math.max((from + to) / 2, LEFT + half), right - half);
    const band = { class: `phase phase-${n}`, x: from, width: to - from }, from0 = y + NAME / 2;
    return [
        svg("rect", { ...band, y: from0, height: TOP - from0 }),
        ...tops.map((top) => svg("rect", { ...band, y: top, height: HIGH })),
        svg("text", { class: "tick", x: middle, y, "text-anchor": "middle", ...central }, name),
    ];
}

function panelOf({ title, curves, ...panel }, { x, top, right, decades, threshold, step }) {
    const values = curves.flatMap(({ points }) => points.map(([, value]) => value)), base = top + HIGH;
    const scale = panel.logarithmic ? logarithmic(values) : linear(values, panel.share);
    const y = (value) => base - HIGH * scale.share(value);
    const across = (name, value) => svg("line", { class: name, x1: LEFT, x2: right, y1: y(value), y2: y(value) });
    const dot = ({ now }, n) =>
        Number.isFinite(now) && svg("circle", { class: `dot-${n}`, cx: x(step), cy: y(now), r: 4 });
    return [
        ...decades.map((each) => svg("line", { class: "grid", x1: x(each), x2: x(each), y1: top, y2: base })),
        ...scale.ticks.flatMap(({ value, words }) => [
            across("grid", value), tick(LEFT - 6, y(value), "end", words),
        ]),
        panel.logarithmic && across("threshold", threshold),
        ...curves.map(({ points }, n) => svg("polyline", {
            class: `curve curve-${n}`, points: points.map(([at, value]) => `${x(at)},${y(value)}`).join(" "),
        })),
        ...curves.map(dot),
        svg("text", { class: "title", x: LEFT, y: top - HEAD / 2, ...central }, title),
        ...legend(curves.map(({ name }) => name), LEFT + title.length * (LETTER + 0.8) + GAP, top - HEAD / 2),
    ];
}

/** Samples of curves with their names, from left to right. */
function legend(names, left, y) {
    let x = left;
    return names.flatMap((name, n) => {
        const from = x, to = from + SAMPLE;
        x = to + name.length * LETTER + 2 * GAP;
        const sample = { class: `curve curve-${n}`, points: `${from},${y} ${to},${y}` };
        return name ? [svg("polyline", sample), svg("text", { class: "tick", x: to + 6, y, ...central }, name)] : [];
    });
}

function described(shown, step) {
    const ends = ({ name, points }) =>
        points.length > 0 && `${name} from ${points[0][1].toPrecision(2)} to ${points.at(-1)[1].toPrecision(2)}`;
    const all = shown.map(({ title, curves }) => `${title}: ${curves.map(ends).filter(Boolean).join(", ")}`);
    return `${all.join("; ")}. Step ${count(step)} is marked`;
}
