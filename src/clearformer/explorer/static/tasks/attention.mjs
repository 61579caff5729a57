/* What the heads of a model look at. */

import { biasOf } from "./bias.mjs";
import { induction, inductionTexts, scoresOf } from "./measures.mjs";
import { pass } from "./pass.mjs";

const PARTS = {
    encoder: /(^|\.)encoder\..*\.attention\.core\.weights$/,
    decoder: /(^|\.)decoder\..*\.attention\.core\.weights$/,
    cross: /\.cross_attention\.core\.weights$/,
};
const KINDS = ["queries", "keys", "values", "weights"];
const SMALL = 64; /* rows and columns of a small map */

/** Of one part of the model: { heads, head }. `heads` has each { layer, head, scores, map }; a map is pooled to at most
    SMALL x SMALL. `head` is the one that is asked for, { T, S, values [T, S] }, NaN where it may not attend: of `show`
    "softmax" the weights A, of "scores" what the softmax is of, of "values" A[t, s] times the length of s's value
    vector. With `hideFirst` the first key is left out, and the weights of the others are divided by their sum. */
export function attention(session, { inputs, part, layer, head, show, hideFirst, sort }) {
    const layers = kept(session, inputs, part), { T, S, H } = layers[0];
    const random = sort === "induction" ? inductionOf(session, part) : undefined;
    const visible = (A) => (hideFirst ? withoutFirst(A, T, S) : A);
    const heads = layers.flatMap((each, l) => Array.from({ length: H }, (_, h) => {
        const A = weightsOf(each, h), scores = scoresOf(A, T, S, part === "cross");
        if (random) scores.induction = random[l][h];
        return { layer: l, head: h, scores, map: pooled(visible(A), T, S) };
    }));
    const values = SHOWN[show](layers[layer], head, visible(weightsOf(layers[layer], head)));
    const may = mayAttend(session.model.sizes, part);
    for (let t = 0; t < T; t++)
        for (let s = 0; s < S; s++) if (!may(t, s) || (hideFirst && s === 0)) values[t * S + s] = NaN;
    return { heads, head: { T, S, values } };
}

/** Queries, keys, values and weights of each layer, [H or G, T or S, ...]. */
function kept(session, inputs, part) {
    const { model } = session, cores = coresOf(model, part);
    const found = pass(session, inputs, cores.flatMap((core) => KINDS.map((kind) => `${core}.${kind}`)));
    return cores.map((core) => {
        const of = Object.fromEntries(KINDS.map((kind) => [kind, found[`${core}.${kind}`].data]));
        const [, H, T, S] = found[`${core}.weights`].shape, [, G, , E] = found[`${core}.keys`].shape;
        return { ...of, H, G, T, S, E, bias: biasOf(model, part, core) };
    });
}

function coresOf(model, part) {
    const names = Object.keys(model.places()).filter((name) => PARTS[part].test(name));
    return names.map((name) => name.replace(/\.weights$/, ""));
}

const weightsOf = ({ weights, T, S }, h) => weights.subarray(h * T * S, (h + 1) * T * S);

/** What can be shown of head h with the weights A; H / G heads share keys and values. */
const SHOWN = {
    softmax: (_layer, _h, A) => A.slice(),

    /** Q Kᵀ / sqrt(E), and what positions add. */
    scores({ queries, keys, bias, H, G, T, S, E }, h) {
        const out = new Float32Array(T * S), g = Math.floor(h / (H / G));
        for (let t = 0; t < T; t++)
            for (let s = 0; s < S; s++) {
                let sum = 0;
                for (let e = 0; e < E; e++) sum += queries[(h * T + t) * E + e] * keys[(g * S + s) * E + e];
                out[t * S + s] = sum / Math.sqrt(E) + bias(h, s - t);
            }
        return out;
    },

    values({ values, H, G, S, E }, h, A) {
        const first = Math.floor(h / (H / G)) * S;
        const vector = (s) => values.subarray((first + s) * E, (first + s + 1) * E);
        const lengths = Array.from({ length: S }, (_, s) => Math.hypot(...vector(s)));
        return A.map((a, i) => a * lengths[i % S]);
    },
};

/** Whether query t may attend to key s, by the causal mask and the window. */
function mayAttend({ window }, part) {
    if (part === "cross") return () => true;
    return (t, s) => (part === "encoder" || s <= t) && (!window || Math.abs(t - s) < window);
}

/** 0 for the first key; the others' weights divided by their sum, if it is not 0. */
function withoutFirst(A, T, S) {
    const out = A.slice();
    for (let t = 0; t < T; t++) {
        const row = out.subarray(t * S, (t + 1) * S);
        row[0] = 0;
        const sum = row.reduce((a, b) => a + b, 0);
        if (sum > 0) row.forEach((a, s) => (row[s] = a / sum));
    }
    return out;
}

/** { rows, columns, data }: the largest weight of each square. */
function pooled(A, T, S) {
    const [high, wide] = [T, S].map((n) => Math.ceil(n / SMALL));
    const rows = Math.ceil(T / high), columns = Math.ceil(S / wide), data = new Float32Array(rows * columns);
    for (let t = 0; t < T; t++)
        for (let s = 0; s < S; s++) {
            const at = Math.floor(t / high) * columns + Math.floor(s / wide);
            data[at] = Math.max(data[at], A[t * S + s]);
        }
    return { rows, columns, data };
}

/** The induction score of each head, by layer; of a causal model alone, and the same for all texts. */
function inductionOf(session, part) {
    const { model } = session, names = coresOf(model, part).map((core) => `${core}.weights`);
    session.induction ??= model.keep(names, inductionTexts(model.sizes));
    return names.map((name) => induction(session.induction[name]));
}
