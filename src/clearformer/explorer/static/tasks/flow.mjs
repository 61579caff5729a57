/* The numbers of one pass, box by box, for the view Flow; ../views/flow/boxes.mjs says which boxes a model has. */

import { embeddingOf } from "./embedding.mjs";
import { logitsOf, pass } from "./pass.mjs";
import { pooled } from "./pooling.mjs";
import { softmax } from "./probability.mjs";
import { transformOf } from "./transform.mjs";

/** `boxes`: { id, value, text }; `at`: the place of the chosen token in each text. Returns { found, shown }: by the id
    of each box { heads, T, width, mean, least, most, norm, row }, where `norm` is the mean length of a token's vector,
    all its heads side by side, and `row` [heads, width] the chosen token's; and { shape, data } of the box `shown`. */
export function flow(session, { inputs, boxes, at, shown }) {
    const read = valuesOf(session, inputs, boxes), found = {};
    for (const { id, value, text } of boxes) found[id] = summaryOf(read(value, text), at[text]);
    const { value, text } = boxes.find(({ id }) => id === shown), { shape, data } = read(value, text);
    return { found, shown: { shape, data: data.slice() } }; /* the original stays here */
}

/** A function of the name of a value and the number of a text. */
function valuesOf(session, inputs, boxes) {
    const { model } = session, { sizes } = model, known = new Set(Object.keys(model.places()));
    const places = boxes.map(({ value }) => value).filter((value) => known.has(value));
    const kept = pass(session, inputs, places), { source, target, tokens = inputs } = inputs;
    const texts = source ? [source, target] : [tokens];
    const sums = texts.map((tokens) => embeddingOf(model, tokens, inputs.segments));
    const others = {
        tokens: (text) => ({ shape: [1, texts[text].length, 1], data: Float32Array.from(texts[text]) }),
        transform: () => transformOf(model, kept.encoder),
        pooled: () => pooled(kept[`body.${sizes.causalBody ? "decoder" : "encoder"}`], sizes),
        probabilities: () => probabilitiesOf(logitsOf(kept)),
    };
    return (value, text) => {
        if (value.startsWith("sum.")) return sums[text][value.slice("sum.".length)];
        return others[value] ? others[value](text) : kept[value];
    };
}

function probabilitiesOf({ shape, data }) {
    const width = shape.at(-1), out = new Float32Array(data.length);
    for (let i = 0; i < data.length; i += width) out.set(softmax(data.subarray(i, i + width)), i);
    return { shape, data: out };
}

function summaryOf({ shape, data }, at) {
    const width = shape.at(-1), heads = shape.length === 4 ? shape[1] : 1, T = shape.length > 2 ? shape.at(-2) : 1;
    const t = Math.min(at, T - 1), row = new Float32Array(heads * width), squares = new Float64Array(T);
    let sum = 0, least = Infinity, most = -Infinity;
    for (let start = 0, token = 0; start < data.length; start += width, token = (token + 1) % T)
        for (let i = start; i < start + width; i++) {
            const x = data[i];
            sum += x;
            squares[token] += x * x;
            if (x < least) least = x;
            if (x > most) most = x;
        }
    for (let h = 0; h < heads; h++) row.set(data.subarray((h * T + t) * width, (h * T + t + 1) * width), h * width);
    const norm = squares.reduce((total, square) => total + Math.sqrt(square), 0) / T;
    return { heads, T, width, mean: sum / data.length, least, most, norm, row };
}
