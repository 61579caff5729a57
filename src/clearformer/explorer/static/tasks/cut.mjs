/* Ablation and patching: the model without some of its parts, or with a few activations from another text.

       change in ln P = ln P(output | parts changed) - ln P(output | untouched)

   As clearformer/inspection/ablate.py, with zero, and patch.py. */

import { decoderOf, logitsOf, pass } from "./pass.mjs";
import { likeliest, logProbabilities, rowOf } from "./probability.mjs";
import { COMMAND } from "./read.mjs";

const TOP = 8; /* outputs */
const GOES_ON = 12; /* tokens of a GPT */

/** `changes` are as touch.mjs has them, but in place of { put } they may have { patch: true }: what stands there in a
    pass over `second`. Returns log probabilities { before, after }: of `outputs` at row `at`, with their `id`, the
    likeliest before, those after, and `output`; of `targets` that are not undefined; and what the model `writes`. */
export function cut(session, { inputs, second, changes, at, output, targets }) {
    const { model, vocabulary } = session, decoder = model.family === "gpt" ? decoderOf(session, inputs) : undefined;
    const before = { logits: logitsOf(pass(session, inputs)), writes: written(model, vocabulary, inputs, decoder) };
    const again = () => ({ logits: model.run(inputs), writes: written(model, vocabulary, inputs) });
    const after = changes.length ? changed(model, withPatches(model, second, changes), again) : before;
    const row = (t) => [before, after].map(({ logits }) => logProbabilities(rowOf(logits, t)));
    const pair = ([from, to], id) => ({ before: from[id], after: to[id] }), rows = row(at);
    const ids = new Set([...rows.flatMap((row) => likeliest(row, TOP).map(({ id }) => id)), output]);
    return {
        outputs: [...ids].map((id) => ({ id, ...pair(rows, id) })),
        targets: targets.map((id, t) => (id === undefined ? undefined : pair(row(t), id))),
        writes: { before: before.writes, after: after.writes },
    };
}

/** The heads of the layers' `cores`, each cut in turn: { core, head, logP, sharpness }, the log probability of `output`
    at row `at` without it, and the mean over all queries that have a choice of their largest attention weight. */
export function sweep(session, { inputs, cores, at, output }) {
    const { model } = session, kept = pass(session, inputs, cores.map((core) => `${core}.weights`));
    const heads = [...Array(model.sizes.H).keys()];
    return cores.flatMap((core) => heads.map((head) => {
        const off = { name: core, heads: [head, head + 1], scale: 0 };
        const logits = changed(model, [off], () => model.run(inputs));
        const logP = logProbabilities(rowOf(logits, at))[output];
        return { core, head, logP, sharpness: sharpness(kept[`${core}.weights`], head) };
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

/** Patches as { put }; at tokens that the second text does not have, nothing is changed. */
function withPatches(model, second, changes) {
    const names = [...new Set(changes.filter(({ patch }) => patch).map(({ name }) => name))];
    const kept = names.length ? model.keep(names, second) : {};
    return changes.flatMap(({ patch, ...change }) => {
        if (!patch) return [change];
        const put = kept[change.name], T = put.shape.at(-2), [first, end] = change.tokens ?? [0, T];
        return first < T ? [{ ...change, put, tokens: [first, Math.min(end, T)] }] : [];
    });
}

/** Of a GPT its likeliest next tokens, of an encoder-decoder its translation, as text; `decoder` as in `generate`. */
function written(model, { tokenizer, never }, inputs, decoder) {
    const { family, sizes: { context } } = model;
    if (family === "transformer") {
        const [[{ tokens }]] = model.translate([inputs.source.slice(0, -1)], COMMAND);
        return tokenizer.decode(tokens);
    }
    if (family !== "gpt") return undefined;
    const maxTokens = Math.min(GOES_ON, context + 1 - inputs.length);
    const tokens = model.generate(inputs, { maxTokens, temperature: 0, decoder, never });
    return [...tokenizer.stream(tokens, inputs)].join("");
}
