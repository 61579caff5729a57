/* Learn: what the model said, and what a head looked at, at the checkpoints of its training; two runs side by side. */

import { element } from "../dom.mjs";
import { readable } from "../fields.mjs";
import { Figure } from "../figure.mjs";
import { Beside } from "./learn/beside.mjs";
import { lossChart, lossRows } from "./learn/chart.mjs";
import { Side } from "./learn/side.mjs";

const NOTE = "In nats. Triangles are checkpoints; the line is at the one that is shown below.";
const KEEP = "clearformer train … --train.checkpoint-every 100 --train.keep-checkpoints 12";
const PUT = "clearformer explore RUN --checkpoints 8";

export const view = {
    name: "learn",
    title: "Learn",
    answers: "How did the model come to this answer?",
    settings: { checkpoint: -1, beside: -1, checkpointBeside: -1, part: "cross", layer: 0, head: 0, at: -1 },
    render(host, state, model, page) {
        const first = new Side(state, model, "checkpoint"), beside = new Beside(state, page);
        const figure = new Figure("loss"), sides = element("div", { class: "sides" });
        host.append(element("div", { class: "learn-top" }, figure.element, beside.element));
        if (model.run.checkpoints.length < 2) host.append(advice());
        host.append(sides);
        return async (reading, signal) => {
            const second = await beside.update(), all = second ? [first, second] : [first];
            const elements = all.map((side) => side.element), there = [...sides.children];
            if (elements.some((each, i) => each !== there[i]) || there.length !== elements.length)
                sides.replaceChildren(...elements);
            drawLoss(figure, all, state);
            const readings = [reading, second && (await readBeside(second.model, state, reading, signal))];
            await Promise.all(all.map((side, i) => side.update(readings[i], signal)));
        };
    },
};

/** The same text as the second run reads it; where tokens are hidden from the first run, so are its own. */
async function readBeside(model, { text, target }, { texts: [first], masked: hidden = [] }, signal) {
    const ask = (masked) => model.ask("read", { text: readable(text), target: readable(target), masked }, signal);
    const reading = await ask([]), { texts: [second] } = reading;
    if (!reading.masked || !hidden.length) return reading;
    const places = spansOf(first).filter((_, i) => hidden.includes(i));
    const meets = ([start, end]) => places.some(([from, to]) => start < to && from < end);
    return ask(spansOf(second).flatMap((span, i) => (meets(span) ? [i] : [])));
}

/** Where each token begins and ends in the text, in characters. */
function spansOf({ tokens }) {
    let end = 0;
    return tokens.map((token) => [end, (end += token.length)]);
}

function advice() {
    return element("p", { class: "muted few" },
        "This page has the trained model alone. To see how it learned, keep checkpoints in training, and put them ",
        "into the page: ", element("code", {}, KEEP), ", then ", element("code", {}, PUT), ".");
}

function drawLoss(figure, sides, state) {
    const steps = ({ checkpoints }) => checkpoints.map(({ step }) => step);
    const runs = sides.map(({ run, at }) => ({ name: run.name, lines: run.metrics, steps: steps(run), at }));
    const last = runs[0].steps.length - 1, choose = (i) => state.set({ checkpoint: i === last ? -1 : i });
    const lines = runs.flatMap((run) => run.lines);
    figure.element.hidden = !lines.some((line) => Number.isFinite(line?.step) && Number.isFinite(line.loss));
    if (figure.element.hidden) return;
    const picture = lossChart(runs, figure.picture.clientWidth, choose);
    figure.show({ title: "Loss in training", note: NOTE, picture, rows: lossRows(runs) });
}
