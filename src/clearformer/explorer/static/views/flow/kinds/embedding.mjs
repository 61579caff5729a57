/* From text to the residual stream: tokens, and the vectors that are added to each. */

import { brief, count } from "../../../numbers.mjs";
import { NORM } from "./stream.mjs";

const PARTS = { positions: "P[p]", ngrams: "N-grams", segments: "W_s" };

export const EMBEDDING = {
    tokens: {
        title: "Tokens",
        equation: () => "text → T numbers below V",
        code: () => [],
        words({ text }, { it, V, family, here, tokens }) {
            const name = family === "transformer" ? ["source", "target"][text] : "text", T = tokens(text).length;
            return [
                `The ${name} is cut into ${T} tokens. The model knows V = ${count(V)} of them by number: `,
                it, ` is ${here.row[0]}.`,
                text ? " The decoder reads what was written so far, and predicts at each place what comes next." : "",
            ];
        },
    },
    embedding: {
        title: "Token embedding",
        equation: (_, { scaleEmbeddings }) => `x = ${scaleEmbeddings ? "√D · " : ""}W[t], W of V × D`,
        code: () => [
            ["blocks/embedding.py", "token_embedding", "one_hot @ weight"],
            ["blocks/embedding.py", "TokenEmbedding.forward", "F.embedding"],
        ],
        words: (_, { it, V, D, scaleEmbeddings, norm }) => [
            `The number picks a row of a learned table of V × D = ${count(V)} × ${D} numbers. `,
            "This row is the vector of ", it,
            scaleEmbeddings ? `; it is multiplied by √D = ${brief(Math.sqrt(D))}` : "",
            `. Its length, or norm, is ${norm}.`,
        ],
    },
    positions: {
        title: "Positions",
        equation: (_, { positions }) => (positions === "learned"
            ? "P[p], a learned row for each position"
            : "P[p, 2i] = sin(p / 10000^(2i/D)), P[p, 2i+1] = cos(p / 10000^(2i/D))"),
        code: (_, { positions }) => (positions === "learned"
            ? [["blocks/positions.py", "LearnedPositions.forward", "F.embedding"]]
            : [
                ["blocks/positions.py", "sinusoidal", "angles.sin()"],
                ["blocks/positions.py", "SinusoidalPositions.forward", "self.table"],
            ]),
        words: ({ text }, { positions, at, it }) => [
            "Attention alone does not know the order of tokens. So each position has a vector of its own, ",
            positions === "learned" ? "which is learned. " : "of sines and cosines of different wavelengths. ",
            it, ` stands at position p = ${at[text]}.`,
        ],
    },
    ngrams: {
        title: "N-gram embedding",
        equation: () => "W₂[hash(t₋₁, t)] + W₃[hash(t₋₂, t₋₁, t)]",
        code: () => [
            ["blocks/ngrams.py", "ngram_hash", "reduce"],
            ["blocks/ngrams.py", "NGramEmbedding.forward", "F.embedding"],
        ],
        words: (_, { ngramBuckets, it }) => [
            `The last two tokens, and the last three, pick rows of two more tables of ${count(ngramBuckets)} rows. `,
            "So the vector of ", it, " also depends on the tokens before it.",
        ],
    },
    segments: {
        title: "Segments",
        equation: () => "W_s[number of the text]",
        code: () => [["models/bert.py", "BERTBody.features", "self.segments(segments)"]],
        words: () => ["An input may have several texts. This learned vector says to which of them a token belongs."],
    },
    input: {
        title: ({ normed }) => (normed ? "Sum and norm" : "Sum"),
        equation({ normed, parts }) {
            const sum = ["W[t]", ...parts.map((part) => PARTS[part])].join(" + ");
            return `x = ${normed ? `Norm(${sum})` : sum}`;
        },
        code({ normed, parts }, c) {
            const added = parts.filter((part) => part !== "segments").slice(-1);
            const found = added.map((part) => ["models/parts.py", "Embedder.embed", `x + self.${part}(`]);
            if (normed) found.push(["models/bert.py", "BERTBody.features", "self.embedding_norm"], ...NORM.code(c));
            return found;
        },
        words: ({ normed }, { D, norm, it }) => [
            `${normed ? "The sum is normalised. " : ""}Here the residual stream begins: D = ${D} numbers for each `,
            "token, which all layers read, and to which they add. The vector of ", it, ` has a norm of ${norm}.`,
        ],
    },
};
