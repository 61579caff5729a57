/* Predict: what the model writes, fills in or decides, step by step. */

import { controls } from "../controls.mjs";
import { element } from "../dom.mjs";
import { stepper } from "../stepper.mjs";
import { beamSearch } from "./predict/beam.mjs";
import { decide } from "./predict/decide.mjs";
import { fill } from "./predict/fill.mjs";
import { write } from "./predict/write.mjs";

const SETTINGS = {
    method: { label: "Method", options: [["beam", "beam search"], ["sampling", "one token at a time"]] },
    temperature: { label: "Temperature", min: 0, max: 10, step: 0.1 },
    topK: { label: "Top k (0: all)", min: 0, max: 1_000_000, step: 1 },
    topP: { label: "Top p", min: 0.01, max: 1, step: 0.01 },
    seed: { label: "Seed", min: 0, max: 2 ** 31 - 1, step: 1 },
    beam: { label: "Beam", min: 1, max: 12, step: 1 },
    lengthPenalty: { label: "Length penalty", min: 0, max: 5, step: 0.1 },
};
const SAMPLING = ["temperature", "topK", "topP", "seed"], BEAM = ["beam", "lengthPenalty"];

/** How each family predicts: a function of (state, model) that returns { element, update }, and its settings. */
const WAYS = {
    gpt: () => [write, SAMPLING],
    bert: () => [fill, []],
    classifier: () => [decide, []],
    transformer: ({ method }) =>
        method === "sampling" ? [write, ["method", ...SAMPLING]] : [beamSearch, ["method", ...BEAM]],
};

export const view = {
    name: "predict",
    title: "Predict",
    answers: "What comes out, step by step?",
    settings: { steps: -1, method: "beam", temperature: 1, topK: 0, topP: 1, seed: 1, beam: 4, lengthPenalty: 0.6 },
    render(host, state, model) {
        const settings = element("div"), steps = stepper(state, "steps"), body = element("div");
        let now = {};
        host.append(settings, steps.element, body);
        return async (reading, signal) => {
            const [way, names] = WAYS[model.family](state);
            if (now.way !== way) {
                const fields = controls(state, names.map((name) => ({ name, ...SETTINGS[name] })));
                now = { way, fields, ...way(state, model) };
                settings.replaceChildren(now.fields.element);
                body.replaceChildren(now.element);
            }
            now.fields.show();
            steps.show(await now.update(reading, signal));
        };
    },
};
