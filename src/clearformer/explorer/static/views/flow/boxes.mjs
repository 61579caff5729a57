/* The parts of a model in the order of computation, as the boxes of a diagram.

       diagram = [{ stack, title, groups: [{ title, rows: [[box, ...], ...] }] }, ...], a column for each stack
       box = { id, kind, stack, layer, sub, place, value, text, axes }

   `kind` is a key of kinds.mjs. `id` is the same in all layers. `value` says to tasks/flow.mjs where the numbers come from,
   `text` of which text they are (0, or of an encoder-decoder 0 source and 1 target). `axes` are letters of the alphabet,
   `place` is PyTorch's name. All but one layer of a stack are folded: a box each, of what they leave on the stream. */

const SINUSOIDAL = 0, LEARNED = 1; /* of the positions in transformer.h */

/** With the sub-layers of `layer` in those stacks that `opened` says. */
export function diagramOf({ family, sizes }, layer, opened = () => true) {
    const columns = stacksOf(family, sizes).map((stack) => {
        const layers = Array.from({ length: sizes.L }, (_, l) => (l === layer && opened(stack.name) ? sublayers(stack, sizes, l) : [folded(stack, l)]));
        return { stack: stack.name, title: stack.title, groups: [embedding(stack, family, sizes), ...layers.flat(), end(stack)] };
    });
    columns.at(-1).groups.push(output(family, columns.at(-1).stack));
    return columns;
}

/** All boxes; those of a walk are not folded. */
export const boxesOf = (diagram) => diagram.flatMap(({ groups }) => groups.flatMap(({ rows }) => rows.flat()));

/** `T`: the letter of its length; `S`: of the source, if it attends to one. */
function stacksOf(family, { causalBody }) {
    const encoder = { name: "encoder", title: "Encoder", text: 0, T: "S", causal: false };
    if (family === "transformer") return [encoder, { name: "decoder", title: "Decoder", text: 1, T: "T", S: "S", causal: true }];
    const causal = family === "gpt" || (family === "classifier" && Boolean(causalBody)), name = causal ? "decoder" : "encoder";
    return [{ ...encoder, name: family === "classifier" ? `body.${name}` : name, title: "", T: "T", causal }];
}

function embedding({ name, text, T }, family, sizes) {
    const make = (kind, value, axes = `${T} D`) => ({ id: `${name}.${kind}`, kind, stack: name, value, text, axes }), { positions } = sizes;
    const parts = [
        (positions === SINUSOIDAL || positions === LEARNED) && "positions", sizes.ngramBuckets > 0 && "ngrams", sizes.segments > 0 && "segments",
    ].filter(Boolean), normed = name.endsWith("encoder") && family !== "transformer", place = `${name}.input`;
    return {
        title: "Embedding",
        rows: [
            [make("tokens", "tokens", T)], [make("embedding", "sum.embedding")], ...parts.map((part) => [make(part, `sum.${part}`)]),
            ...(parts.length || normed ? [[{ ...make("input", place), place, parts, normed }]] : []),
        ],
    };
}

function sublayers(stack, sizes, l) {
    const { T, S } = stack, attention = sublayer(stack, sizes, l, "attention"), cross = sublayer(stack, sizes, l, "cross_attention");
    const attend = ({ make, norm, residual }, sub, keys) => [
        ...norm,
        [make("queries", `${sub}.core.queries`, `H ${T} E`), make("keys", `${sub}.core.keys`, `G ${keys} E`), make("values", `${sub}.core.values`, `G ${keys} E`)],
        [{ ...make("weights", `${sub}.core.weights`, `H ${T} ${keys}`), causal: stack.causal && sub === "attention" }], [make("heads", `${sub}.core`, `H ${T} E`)], [make("attention", sub, `${T} D`)],
        ...residual,
    ];
    const { make, norm, residual } = sublayer(stack, sizes, l, "feed_forward"), at = `Layer ${l}`;
    const feedForward = [
        ...norm, [make("linear1", "feed_forward.linear1", `${T} ${sizes.activation > 2 ? "2F" : "F"}`)],
        [make("activation", "feed_forward.linear2.input", `${T} F`)], [make("linear2", "feed_forward", `${T} D`)], ...residual,
    ];
    return [
        { title: `${at}: self-attention`, layer: l, rows: attend(attention, "attention", T) },
        ...(S ? [{ title: `${at}: cross-attention to the source`, layer: l, rows: attend(cross, "cross_attention", S), cross: true }] : []),
        { title: `${at}: feed-forward`, layer: l, rows: feedForward },
    ];
}

function folded({ name, text, T }, l) {
    const value = `${name}.layers.${l}.feed_forward_residual`;
    return { title: "", rows: [[{ id: `${name}.layers.${l}`, kind: "folded", stack: name, layer: l, place: `${name}.layers.${l}`, value, text, axes: `${T} D` }]] };
}

/** What all sub-layers have: a norm before it (pre-norm), and the sum with the stream, which post-norm normalises. */
function sublayer({ name, text, T }, { postNorm }, l, sub) {
    const make = (kind, place, axes) => {
        const full = `${name}.layers.${l}.${place}`, id = `${name}.layer.${place}`;
        return { id, kind, stack: name, layer: l, sub, place: full, value: full, text: place.match(/cross_attention\.core\.(keys|values)$/) ? 0 : text, axes };
    };
    return {
        make,
        norm: postNorm ? [] : [[make("norm", `${sub}.input`, `${T} D`)]],
        residual: [[make("residual", `${sub}_residual`, `${T} D`)]],
    };
}

function end({ name, text, T, S }) {
    return { title: "", rows: [[{ id: `${name}.end`, kind: "end", stack: name, place: name, value: name, text, axes: `${T} D`, cross: Boolean(S) }]] };
}

function output(family, stack) {
    const classifies = family === "classifier", text = Number(family === "transformer"), last = classifies ? "class_projection" : "output_projection";
    const make = (kind, value, axes, place) => [{ id: kind, kind, stack, value, text, axes, place }], axes = classifies ? "C" : "T V";
    return {
        title: "Output",
        rows: [
            ...(family === "bert" ? [make("transform", "transform", "T D", "transform_norm")] : []),
            ...(classifies ? [make("pooled", "pooled", "D")] : []), make("logits", last, axes, last), make("probabilities", "probabilities", axes),
        ],
    };
}
