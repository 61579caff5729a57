/* How likely outputs were at each checkpoint of a run: the trained model's likeliest one, and those that were the
   likeliest on the way. */

import { placeIn } from "../../address.mjs";
import { curves } from "../../curves.mjs";
import { element } from "../../dom.mjs";
import { largest } from "../../numbers.mjs";
import { printable, visible } from "../../visible.mjs";

const FOLLOWED = 4; /* outputs in the picture */

/** The position whose output is followed, as Type has it; -1 if nothing is hidden from a masked language model. */
export function placeOf({ texts, inputs }, { at }, { family, special: { mask } }) {
    if (family === "bert") return inputs.tokens.indexOf(mask);
    const { length } = texts.at(-1).ids;
    return placeIn(length, at, length - 1);
}

/** What a figure shows of the probabilities [V] at each checkpoint, of which number `at` is marked. */
export function historyOf({ family, run, tokens }, probabilities, names, at) {
    const [outputs, show] = family === "classifier" ? [run.classes, printable] : [tokens, visible];
    const best = probabilities.map(largest), last = best.at(-1);
    const most = (id) => Math.max(...probabilities.map((p) => p[id])), others = new Set(best);
    others.delete(last);
    const ids = [last, ...[...others].sort((a, b) => most(b) - most(a)).slice(0, FOLLOWED - 1)];
    const shown = ids.map((id) => ({ name: show(outputs[id] ?? String(id)), values: probabilities.map((p) => p[id]) }));
    const steps = run.checkpoints.map(({ step }) => String(step)), all = shown.map(({ name }) => name);
    return {
        title: ["How likely it was: ", element("bdi", { class: "token-text" }, all[0])],
        note: all.length > 1 ? "Broken lines: what was the likeliest at earlier checkpoints" : "At each checkpoint",
        picture: curves(shown, at, steps, `Probabilities by checkpoint: ${all.join(", ")}`),
        rows: [["checkpoint", ...all], ...names.map((name, i) => [name, ...shown.map(({ values }) => values[i])])],
    };
}
