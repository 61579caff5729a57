/* Ablation and patching: the model without some of its parts, or with a few activations from another text.

       change in ln P = ln P(output | parts changed) - ln P(output | untouched)

   As clearformer/inspection/ablate.py, with zero, and patch.py. */

import { logProbabilities, rowOf } from "./probability.mjs";
import { likeliest } from "./outputs.mjs";

const BEAM = { beam: 4, lengthPenalty: 0.6 }; /* as `clearformer translate` */
const GOES_ON = 12; /* tokens of a GPT */

/** `changes` are as touch.mjs has them, but in place of { put } they may have { patch: true }: what stands there in a pass
    over `second`. Returns of the outputs at row `at`, { id, before, after }: the `top` likeliest before, those after, and
    `output`; of each target { before, after }, all of them log probabilities; and what the model `writes`. */
export function cut({ model, vocabulary }, { inputs, second, changes, at, output, targets = [], top = 8 }) {
    const pass = () => ({ logits: model.run(inputs), writes: written(model, vocabulary, inputs) });
    const before = pass(), after = changes.length ? changed(model, withPatches(model, second, changes), pass) : before;
    const [from, to] = [before, after].map(({ logits }) => logProbabilities(rowOf(logits, at)));
    const ids = new Set([from, to].flatMap((found) => likeliest(found, top).map(({ id }) => id)).concat(output));
    const each = ({ logits }, id, t) => (id === undefined ? undefined : logProbabilities(rowOf(logits, t))[id]);
    return {
        outputs: [...ids].map((id) => ({ id, before: from[id], after: to[id] })),
        targets: targets.map((id, t) => ({ before: each(before, id, t), after: each(after, id, t) })),
        writes: { before: before.writes, after: after.writes },
    };
}

/** The heads of the layers' `cores`, each cut in turn: { core, head, logP, sharpness }, the log probability of `output` at
    row `at` without it, and the mean over all queries that have a choice of their largest attention weight. */
export function sweep({ model }, { inputs, cores, at, output }) {
    const kept = model.keep(cores.map((core) => `${core}.weights`), inputs);
    return cores.flatMap((core) => Array.from({ length: model.sizes.H }, (_, head) => {
        const logits = changed(model, [{ name: core, heads: [head, head + 1], scale: 0 }], () => model.run(inputs));
        return { core, head, logP: logProbabilities(rowOf(logits, at))[output], sharpness: sharpness(kept[`${core}.weights`], head) };
    }));
}

function sharpness({ shape: [, , T, S], data }, head) {
    const rows = Array.from({ length: T }, (_, t) => data.subarray((head * T + t) * S, (head * T + t + 1) * S));
    const largest = rows.filter((row) => row.filter((a) => a > 0).length > 1).map((row) => Math.max(...row));
    return largest.reduce((a, b) => a + b, 0) / largest.length;
}

/** What `work` returns while the model is changed. */
function changed(model, changes, work) {
    model.change(changes);
    try {
        return work();
    } finally {
        model.change([]);
    }
}

/** Of a second text, what stands at the places of its patches; at tokens that it does not have, nothing is changed. */
function withPatches(model, second, changes) {
    const names = [...new Set(changes.filter(({ patch }) => patch).map(({ name }) => name))], kept = names.length ? model.keep(names, second) : {};
    return changes.flatMap(({ patch, ...change }) => {
        if (!patch) return [change];
        const put = kept[change.name], T = put.shape.at(-2), [first, end] = change.tokens ?? [0, T];
        return first < T ? [{ ...change, put, tokens: [first, Math.min(end, T)] }] : [];
    });
}

/** Of a GPT its likeliest next tokens, of an encoder-decoder its translation, as text. */
function written(model, { tokenizer }, inputs) {
    const { family, sizes: { context } } = model;
    if (family === "gpt") return tokenizer.decode([...model.generate(inputs, { maxTokens: Math.min(GOES_ON, context + 1 - inputs.length), temperature: 0 })]);
    return family === "transformer" ? tokenizer.decode(model.translate(inputs.source.slice(0, -1), BEAM)[0][0].tokens) : undefined;
}
