/* The parts of a model in the order of computation, as the boxes of a diagram.

       diagram = [{ title, groups: [{ title, crosses, rows: [[box, …], …] }, …] }, …], a column for each stack
       box = { id, kind, stack, layer, sub, place, value, text, axes }

   `kind` is a key of KINDS. `id` is the same in all layers. `place` is PyTorch's name. `value` says to tasks/flow.mjs
   where the numbers come from, and `text` to which text they belong: 0, or of an encoder-decoder's target 1. `axes` are
   letters of the alphabet. All but one layer of a stack are folded: a box each, of what they leave on the stream. */

import { POSITIONS, hasNorms, stacksOf } from "../../stacks.mjs";

/** With the sub-layers of `layer` in those stacks that `opened` says. */
export function diagramOf({ family, sizes }, layer, opened = () => true) {
    const columns = stacksOf(family, sizes).map(lettered).map((stack) => {
        const layers = Array.from({ length: sizes.L }, (_, l) =>
            l === layer && opened(stack.name) ? panelsOf(stack, sizes, l) : [folded(stack, l)]);
        const groups = [embeddingOf(stack, family, sizes), ...layers.flat(), endOf(stack)];
        return { title: stack.title, groups };
    });
    columns.at(-1).groups.push(outputOf(family));
    return columns;
}

/** In their order. */
export const boxesOf = (diagram) => diagram.flatMap(({ groups }) => groups.flatMap(({ rows }) => rows.flat()));

/** `T` is the letter of a stack's length, `S` that of the source, if it attends to one. */
function lettered({ name, title, text }, _, { length }) {
    const causal = name.endsWith("decoder"), two = length > 1;
    return { name, title: two ? title : "", text, causal, T: two && !causal ? "S" : "T", S: two && causal ? "S" : "" };
}

function embeddingOf({ name, text, T }, family, sizes) {
    const { positions, ngramBuckets, segments } = sizes;
    const common = { stack: name, text, axes: `${T} D` };
    const box = (kind, value, more) => [{ id: `${name}.${kind}`, kind, value, ...common, ...more }];
    const has = { positions: ["sinusoidal", "learned"].includes(POSITIONS[positions]), ngrams: ngramBuckets, segments };
    const parts = Object.keys(has).filter((part) => has[part] > 0);
    const normed = name.endsWith("encoder") && family !== "transformer" && hasNorms(sizes), place = `${name}.input`;
    const sum = parts.length || normed ? [box("input", place, { place, parts, normed })] : [];
    const vectors = ["embedding", ...parts].map((part) => box(part, `sum.${part}`));
    return { title: "Embedding", rows: [box("tokens", "tokens", { axes: T }), ...vectors, ...sum] };
}

function panelsOf(stack, sizes, l) {
    const { T, S } = stack, gated = sizes.activation > 3 ? 2 : 1;
    const attention = (sub, keys) => sublayer(stack, sizes, l, sub, (box) => [
        [
            box("queries", `${sub}.core.queries`, `H ${T} E`), box("keys", `${sub}.core.keys`, `G ${keys} E`),
            box("values", `${sub}.core.values`, `G ${keys} E`),
        ],
        [box("weights", `${sub}.core.weights`, `H ${T} ${keys}`)], [box("heads", `${sub}.core`, `H ${T} E`)],
        [box("attention", sub, `${T} D`)],
    ]);
    const feedForward = sublayer(stack, sizes, l, "feed_forward", (box) => [
        [box("linear1", "feed_forward.linear1", `${T} ${gated > 1 ? "2F" : "F"}`)],
        [box("activation", "feed_forward.linear2.input", `${T} F`)], [box("linear2", "feed_forward", `${T} D`)],
    ]);
    return [
        { title: `Layer ${l}: self-attention`, rows: attention("attention", T) },
        ...(S ? [{ title: `Layer ${l}: cross-attention`, crosses: true, rows: attention("cross_attention", S) }] : []),
        { title: `Layer ${l}: feed-forward`, rows: feedForward },
    ];
}

/** Between what all sub-layers have: a norm before it (pre-norm), and the sum with the stream, which may be normed. */
function sublayer({ name, text, T, causal }, sizes, layer, sub, rows) {
    const box = (kind, suffix, axes) => {
        const place = `${name}.layers.${layer}.${suffix}`;
        const ofSource = /^cross_attention\.core\.(keys|values)$/.test(suffix);
        const more = { layer, sub, place, value: place, causal: causal && sub === "attention" };
        return { id: `${name}.layer.${suffix}`, kind, stack: name, text: ofSource ? 0 : text, axes, ...more };
    };
    const norm = sizes.postNorm || !hasNorms(sizes) ? [] : [[box("norm", `${sub}.input`, `${T} D`)]];
    return [...norm, ...rows(box), [box("residual", `${sub}_residual`, `${T} D`)]];
}

function folded({ name, text, T }, layer) {
    const place = `${name}.layers.${layer}`, value = `${place}.feed_forward_residual`;
    const box = { id: place, kind: "folded", stack: name, layer, place, value, text, axes: `${T} D` };
    return { title: "", rows: [[box]] };
}

function endOf({ name, text, T, S }) {
    const more = { stack: name, place: name, value: name, text, axes: `${T} D`, crosses: Boolean(S) };
    return { title: "", rows: [[{ id: `${name}.end`, kind: "end", ...more }]] };
}

function outputOf(family) {
    const classifies = family === "classifier", axes = classifies ? "C" : "T V";
    const place = classifies ? "class_projection" : "output_projection", text = Number(family === "transformer");
    const box = (kind, value, more) => [{ id: kind, kind, value, text, axes, ...more }];
    return {
        title: "Output",
        rows: [
            ...(family === "bert" ? [box("transform", "transform", { axes: "T D", place: "transform_norm" })] : []),
            ...(classifies ? [box("pooled", "pooled", { axes: "D" })] : []),
            box("logits", place, { place }), box("probabilities", "probabilities"),
        ],
    };
}
