/* What the vector of a token is the sum of, before the first layer; the engine keeps only the sum.

       √D W[t] or W[t], + P[p] sines or learned, + W_2[hash(t-1, t)] + W_3[hash(t-2, t-1, t)], + W_s[segment]

   As clearformer/blocks/embedding.py, positions.py and ngrams.py. */

import { POSITIONS } from "../stacks.mjs";
import { bucketOf } from "./ngrams.mjs";
import { parametersOf } from "./vectors.mjs";

/** The parts that the model has, by the names of PyTorch's modules, [1, T, D] each; `segments` are numbers of texts. */
export function embeddingOf(model, tokens, segments = []) {
    const { D, positions, ngramBuckets, scaleEmbeddings, segments: kinds } = model.sizes, found = {};
    const parameter = parametersOf(model), body = model.family === "classifier" ? "body." : "";
    const table = (name, rows) => rowsOf(parameter(body + name), rows, D), p = tokens.map((_, i) => i);
    const hashed = (n) => p.map((i) => bucketOf(tokens, i, n, ngramBuckets));
    found.embedding = table("embedding.weight", tokens);
    if (scaleEmbeddings) found.embedding.data = found.embedding.data.map((x) => x * Math.sqrt(D));
    if (POSITIONS[positions] === "sinusoidal") found.positions = sinusoids(p.length, D);
    if (POSITIONS[positions] === "learned") found.positions = table("positions.weight", p);
    if (ngramBuckets) {
        const pairs = table("ngrams.pairs", hashed(2)), triples = table("ngrams.triples", hashed(3));
        found.ngrams = { shape: pairs.shape, data: pairs.data.map((x, i) => x + triples.data[i]) };
    }
    if (kinds) found.segments = table("segments.weight", p.map((i) => segments[i] ?? 0));
    return found;
}

function rowsOf(matrix, rows, D) {
    const data = new Float32Array(rows.length * D);
    rows.forEach((row, i) => data.set(matrix.subarray(row * D, (row + 1) * D), i * D));
    return { shape: [1, rows.length, D], data };
}

function sinusoids(T, D) {
    const data = Float32Array.from({ length: T * D }, (_, i) => {
        const column = i % D, angle = Math.floor(i / D) / 10_000 ** ((column - (column % 2)) / D);
        return column % 2 ? Math.cos(angle) : Math.sin(angle);
    });
    return { shape: [1, T, D], data };
}
