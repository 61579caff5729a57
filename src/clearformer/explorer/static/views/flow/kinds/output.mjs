/* From the vectors of the last layer to probabilities. */

import { element } from "../../../dom.mjs";
import { token } from "../../../visible.mjs";
import { brief, count, largest, share } from "../../../numbers.mjs";
import { NORM } from "./stream.mjs";

const POOLINGS = [ /* in the order of transformer.h */
    { name: "first", equation: "x of the first token", words: "The vector of the first token" },
    { name: "last", equation: "x of the last token", words: "The vector of the last token" },
    { name: "mean", equation: "mean over t of x_t", words: "The mean of all vectors" },
];

/** The likeliest output, and its number. */
function best({ here: { row }, output }) {
    const id = largest(row);
    return { name: element("bdi", { class: "token-text" }, output(id)), value: row[id] };
}

export const OUTPUT = {
    transform: {
        title: "Transform",
        equation: (_, { order }) => (order === "none" ? "GELU(x W + b)" : "Norm(GELU(x W + b))"),
        code: (_, c) => [
            ["models/bert.py", "BERT.forward", "self.transform("], ["blocks/feedforward.py", "gelu", "erf"],
            ...NORM.code(c),
        ],
        words: (_, { D, order }) => [
            `A matrix of D × D = ${D} × ${D}`, order === "none" ? " and GELU" : ", GELU and a norm",
            " prepare the vectors for the output.",
        ],
    },
    pooled: {
        title: "Pooling",
        equation: (_, { pooling }) => POOLINGS[pooling].equation,
        code: (_, { pooling }) => [["models/classifier.py", POOLINGS[pooling].name, "return"]],
        words({ text }, { pooling, tokens }) {
            const { name, words } = POOLINGS[pooling], at = { first: 0, last: -1 }[name];
            const which = at === undefined ? [] : [", ", token(tokens(text).at(at)), ","];
            return [words, ...which, " stands for all tokens."];
        },
    },
    logits: {
        title: "Logits",
        equation(_, { family, cap }) {
            if (family === "classifier") return "z = x W + b";
            return `z = ${cap ? "c · tanh(x Wᵀ / c)" : `x Wᵀ${family === "bert" ? " + b" : ""}`}`;
        },
        code(_, { family, cap }) {
            const linear = family === "classifier"
                ? ["models/classifier.py", "Classifier.forward", "self.class_projection"]
                : ["blocks/output.py", "OutputProjection.forward", "F.linear"];
            return [linear, ...(cap ? [["blocks/output.py", "soft_cap", "tanh"]] : [])];
        },
        words(_, c) {
            const { family, V, C, D, tieEmbeddings } = c, { name, value } = best(c);
            const tied = tieEmbeddings ? " in the embedding’s table" : "";
            const score = family === "classifier"
                ? `A matrix of C × D = ${C} × ${D} gives each class a score, a logit.`
                : `The product with the row of each of the V = ${count(V)} tokens${tied} is a score, a logit.`;
            return [`${score} The largest is ${brief(value)}, of `, name, "."];
        },
    },
    probabilities: {
        title: "Probabilities",
        equation: () => "p_i = exp(z_i) / Σ_j exp(z_j)",
        code: () => [["generation/sampling.py", "_softmax", "exponentials.sum"]],
        words(_, c) {
            const { name, value } = best(c), of = { classifier: ["of the class"], bert: ["for the place of ", c.it] };
            const guess = of[c.family] ?? ["of what follows ", c.it];
            const words = "A softmax turns the scores into probabilities of sum 1. The model’s best guess ";
            return [words, ...guess, " is ", name, `, with ${share(value)}.`];
        },
    },
};
