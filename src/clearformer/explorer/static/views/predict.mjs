/* Predict: what the model writes, fills in or decides, step by step. */

import { controls } from "../controls.mjs";
import { element } from "../dom.mjs";
import { stepper } from "../stepper.mjs";
import { beamSearch } from "./predict/beam.mjs";
import { decide } from "./predict/decide.mjs";
import { fill } from "./predict/fill.mjs";
import { write } from "./predict/write.mjs";

const SAMPLING = [
    { name: "temperature", label: "Temperature", min: 0, max: 10, step: 0.1 },
    { name: "topK", label: "Top k (0: all)", min: 0, max: 1000000, step: 1 },
    { name: "topP", label: "Top p", min: 0.01, max: 1, step: 0.01 },
    { name: "seed", label: "Seed", min: 0, max: 2 ** 31 - 1, step: 1 },
];
const BEAM = [
    { name: "beam", label: "Beam", min: 1, max: 12, step: 1 },
    { name: "lengthPenalty", label: "Length penalty", min: 0, max: 5, step: 0.1 },
];
const METHODS = [["beam", "beam search"], ["sampling", "one token at a time"]];

export const view = {
    name: "predict",
    title: "Predict",
    answers: "What comes out, step by step?",
    suits: () => true,
    settings: { steps: -1, method: "beam", temperature: 1, topK: 0, topP: 1, seed: 1, beam: 4, lengthPenalty: 0.6 },
    render(host, state, model) {
        const { family } = model, method = family === "transformer" ? controls(state, [{ name: "method", label: "Method", options: METHODS }]) : undefined;
        const sampling = controls(state, SAMPLING), beam = controls(state, BEAM), steps = stepper(state, "steps"), body = element("div");
        const shown = { gpt: write, bert: fill, classifier: decide, transformer: { beam: beamSearch, sampling: write } }[family];
        const made = new Map(); /* what each way of prediction has drawn */
        host.append(element("div", { class: "controls" }, method?.element, sampling.element, beam.element), steps.element, body);
        return async (reading, signal) => {
            const way = typeof shown === "function" ? shown : shown[state.method] ?? shown.beam;
            [method, sampling, beam].forEach((each) => each?.show());
            sampling.element.hidden = way !== write;
            beam.element.hidden = way !== beamSearch;
            if (!made.has(way)) made.set(way, way(state, model));
            const { element: picture, update } = made.get(way);
            if (body.firstChild !== picture) body.replaceChildren(picture);
            steps.show(await update(reading, signal));
        };
    },
};
