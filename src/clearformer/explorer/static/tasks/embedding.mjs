/* What the vector of a token is the sum of, before the first layer; the engine keeps only the sum.

       √D W[t] or W[t], + P[p] sines or learned, + W_2[hash(t-1, t)] + W_3[hash(t-2, t-1, t)], + W_s[segment]

   As clearformer/blocks/embedding.py, positions.py and ngrams.py. */

import { parametersOf } from "./parameters.mjs";

const SINUSOIDAL = 0, LEARNED = 1; /* of the positions in transformer.h */
const MULTIPLIER = 1_000_003n, RANGE = 2n ** 40n, SHIFT = 20n; /* of ngrams.py */

/** The parts that the model has, by the names of PyTorch's modules, [1, T, D] each; `segments` are numbers of texts. */
export function embeddingOf(model, tokens, segments = []) {
    const { sizes } = model, { D, positions, ngramBuckets } = sizes, parameter = parametersOf(model);
    const table = (name, numbers, scale = 1) => rows(parameter(name), numbers, D, scale), p = tokens.map((_, i) => i), found = {};
    found.embedding = table("embedding.weight", tokens, sizes.scaleEmbeddings ? Math.sqrt(D) : 1);
    if (positions === SINUSOIDAL) found.positions = sinusoids(p.length, D);
    if (positions === LEARNED) found.positions = table("positions.weight", p);
    if (ngramBuckets) {
        const hashed = (n) => p.map((i) => bucket(Array.from({ length: n }, (_, back) => tokens[i - back] ?? 0), ngramBuckets));
        const [pairs, triples] = [table("ngrams.pairs", hashed(2)), table("ngrams.triples", hashed(3))];
        found.ngrams = { ...pairs, data: pairs.data.map((x, i) => x + triples.data[i]) };
    }
    if (sizes.segments) found.segments = table("segments.weight", p.map((i) => segments[i] ?? 0));
    return found;
}

function rows(matrix, numbers, D, scale) {
    const data = new Float32Array(numbers.length * D);
    numbers.forEach((row, i) => data.set(matrix.subarray(row * D, (row + 1) * D), i * D));
    return { shape: [1, numbers.length, D], data: data.map((x) => x * scale) };
}

function sinusoids(T, D) {
    const data = Float32Array.from({ length: T * D }, (_, i) => {
        const column = i % D, angle = Math.floor(i / D) / 10_000 ** ((column - (column % 2)) / D);
        return column % 2 ? Math.cos(angle) : Math.sin(angle);
    });
    return { shape: [1, T, D], data };
}

/** The row of a window of tokens, the newest first. */
function bucket(window, buckets) {
    const mixed = window.reduce((h, token) => ((h ^ BigInt(token + 1)) * MULTIPLIER) % RANGE, 1n);
    return Number((mixed ^ (mixed >> SHIFT)) % BigInt(buckets));
}
