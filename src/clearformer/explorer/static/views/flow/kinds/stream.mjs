/* The residual stream: norms before or behind the sub-layers, what they add, and how it ends. */

import { brief, length } from "../../../numbers.mjs";

const FILE = "blocks/norm.py";
const SUBLAYERS = { attention: "Attention", cross_attention: "CrossAttention", feed_forward: "FFN" };

export const NORM = {
    equation: ({ normKind, bias }) => (normKind === "rms"
        ? "RMSNorm(x) = x / √(mean(x²) + ε) · w"
        : `LayerNorm(x) = (x − mean(x)) / √(var(x) + ε) · w${bias ? " + b" : ""}`),
    code: ({ normKind }) => ({
        layer: [[FILE, "layer_norm", "(x - mean)"], [FILE, "LayerNorm.forward", "F.layer_norm"]],
        rms: [[FILE, "rms_norm", "x / torch.sqrt"], [FILE, "RMSNorm.forward", "F.rms_norm"]],
        none: [],
    })[normKind],
    words: ({ normKind }) =>
        `${normKind === "rms" ? "a root mean square" : "a mean of 0 and a variance"} of 1, times learned weights`,
};

/** The norm of the chosen token's vector in the stream as a sub-layer reads it. */
function normBefore({ stack, sub, layer }, { found }) {
    const names = Object.keys(SUBLAYERS), earlier = names.slice(0, names.indexOf(sub)).reverse();
    const start = layer ? [`${stack}.layers.${layer - 1}`] : [`${stack}.input`, `${stack}.embedding`];
    const ids = [...earlier.map((name) => `${stack}.layer.${name}_residual`), ...start];
    return brief(length(found[ids.find((id) => found[id])].row));
}

export const STREAM = {
    norm: {
        title: "Norm",
        equation: (_, c) => NORM.equation(c),
        code: (_, c) => NORM.code(c),
        words: (box, c) => [
            `The sub-layer reads a copy of the stream, in which each vector has ${NORM.words(c)}. The norm of `,
            c.it, ` goes from ${normBefore(box, c)} to ${c.norm}.`,
        ],
    },
    residual: {
        title: (_, { order }) => (order === "post" ? "Residual sum and norm" : "Residual sum"),
        equation: ({ sub }, { order }) => ({
            pre: `x ← x + ${SUBLAYERS[sub]}(Norm(x))`,
            post: `x ← Norm(x + ${SUBLAYERS[sub]}(x))`,
            none: `x ← x + ${SUBLAYERS[sub]}(x)`,
        })[order],
        code: (_, c) => [
            ["blocks/residual.py", `${c.postNorm ? "Post" : "Pre"}NormResidual.forward`, "return"],
            ...(c.postNorm ? NORM.code(c) : []),
        ],
        words: (box, c) => [
            "What the sub-layer computed is added to the stream",
            c.order === "post" ? `, and the sum is normalised: each vector has ${NORM.words(c)}` : "",
            c.order === "none" ? ". This model has no norms: what the code calls a norm returns what it reads" : "",
            ". The norm of ", c.it, ` goes from ${normBefore(box, c)} to ${c.norm}.`,
        ],
    },
    folded: { title: ({ layer }) => `Layer ${layer}` }, /* which has no words: a click opens it */
    end: {
        title: (_, { order }) => (order === "pre" ? "Final norm" : "Output of the stack"),
        equation: (_, c) => (c.order === "pre" ? NORM.equation(c) : "x, as the last layer leaves it"),
        code({ crosses }, c) {
            const stack = crosses ? ["blocks/decoder.py", "Decoder.forward"] : ["blocks/encoder.py", "Encoder.forward"];
            return [[...stack, "self.norm(x)"], ...(c.order === "pre" ? NORM.code(c) : [])];
        },
        words: ({ stack, crosses }, c) => [
            c.L > 1 ? `All L = ${c.L} layers do the same, each with weights of its own. ` : "",
            c.order === "pre" ? `At the end each vector is given ${NORM.words(c)}. ` : "",
            "The vector of ", c.it, ` leaves the ${stack.split(".").at(-1)} with a norm of ${c.norm}.`,
            c.family === "transformer" && !crosses ? " Cross-attention in the decoder reads these vectors." : "",
        ],
    },
};
