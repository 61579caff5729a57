/* The measures of a run that learned arithmetic, by step, as a figure: explorer/grokking.py has measured them. */

import { count } from "../../numbers.mjs";
import { panels } from "./panels.mjs";

const PANELS = [
    { title: "Loss, nats", logarithmic: true, curves: { loss: "training", held_out_loss: "held-out" } },
    { title: "Accuracy", share: true, curves: { accuracy: "training", held_out_accuracy: "held-out" } },
    { title: "Loss, nats", logarithmic: true, curves: { restricted_loss: "restricted", excluded_loss: "excluded" } },
    { title: "Gini", curves: { embedding_gini: "embedding", unembedding_gini: "unembedding" } },
    { title: "Sum of squared weights", curves: { squared_weights: "" } },
];
const MEANING = "Restricted: the loss of what the key frequencies alone say. Excluded: that of the training " +
    "equations without these. Gini: how unequal the frequencies of the embedding are.";

/** What `Figure.show` takes; checkpoint number `at` is marked, and `choose` is called with the number of another. */
export function historyFigure({ grokking, metrics, checkpoints }, at, room, choose) {
    const { measures, phases, threshold } = grokking, names = Object.keys(measures[0]);
    const written = { loss: points(metrics, "loss"), held_out_loss: points(metrics, "validation_loss") };
    const curve = ([key, name]) => {
        const all = [...(written[key] ?? []), ...points(measures, key)].sort(([a], [b]) => a - b);
        return { name, points: all, now: measures.find(({ step }) => step === checkpoints[at].step)?.[key] };
    };
    const drawn = PANELS.map(({ curves, ...panel }) => ({ ...panel, curves: Object.entries(curves).map(curve) }));
    const shown = drawn.filter(({ curves }) => curves.some((each) => each.points.length));
    const steps = checkpoints.map(({ step }) => step), cells = (line) => names.map((name) => line[name] ?? "");
    return {
        title: "Training, step by step",
        note: `${said(phases, threshold)}${grokking.frequencies.length ? ` ${MEANING}` : ""}`,
        picture: panels({ shown, phases, threshold, steps, at, room, choose }),
        rows: [names.map((name) => name.replaceAll("_", " ")), ...measures.map(cells)],
    };
}

/** [step, value] where there is one. */
const points = (lines, key) =>
    lines.map(({ step, [key]: value }) => [step, value]).filter(([, value]) => Number.isFinite(value));

function said(phases, threshold) {
    const span = ({ name, first, last }) => `${name} from step ${count(first)} to ${count(last)}`;
    const rule = `A phase is over once the training, the restricted, the held-out loss is below ${threshold}`;
    return phases.length ? `${rule}: ${phases.map(span).join(", ")}.` : `${rule}; here all were from the beginning.`;
}
