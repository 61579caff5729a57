/* Attention: queries, keys and values, the weights of each head, and what the heads bring. */

import { token } from "../../../visible.mjs";
import { brief, largest, share } from "../../../numbers.mjs";

const FILE = "blocks/multihead.py", ROTARY = "blocks/rotary.py";
const ROTATED = " It is rotated by angles that grow with the position, so that products depend on distances.";
const isSelf = ({ sub }) => sub === "attention";
const rotates = (box, { positions }) => positions === "rotary" && isSelf(box);

/** Q, K or V: `letter`; `name` and `line` say where cross-attention computes it. */
function projection(title, letter, name, line, words) {
    const isValue = letter === "V";
    return {
        title,
        equation(box, c) {
            const input = isSelf(box) || letter === "Q" ? "X" : "M", product = `${input} W_${letter}`;
            const normed = c.qkNorm && !isValue ? `Norm(${product})` : product;
            const rotated = rotates(box, c) && !isValue ? `R(p) ${normed}` : normed;
            return `${letter} = ${rotated}${input === "M" ? ", M the encoder’s output" : ""}`;
        },
        code(box, c) {
            if (!isSelf(box)) return [[FILE, name, line]];
            const found = [[FILE, "multi_head_attention", "q, k, v ="]];
            found.push([FILE, "MultiHeadAttention.forward", "split_heads"]);
            if (isValue || !rotates(box, c)) return found;
            return [...found, [ROTARY, "rotary", "torch.complex"], [ROTARY, "RotaryPositions.forward", "x * cos"]];
        },
        words: (box, c) => [
            ...words(box, c), c.qkNorm && !isValue ? " It is normalised." : "",
            rotates(box, c) && !isValue ? ROTATED : "",
        ],
    };
}

const queryWords = (box, { H, E }) => [
    `A matrix turns the vector of each ${isSelf(box) ? "token" : "target token"} into a query: `,
    `E = ${E} numbers for each of H = ${H} heads, which say what the token looks for.`,
];
const keyWords = (box, { H, G }) => [
    `Another matrix turns ${isSelf(box) ? "the vector of" : "the encoder’s output for"} each token into a key, `,
    "which queries are compared with.",
    G < H ? ` Keys and values have only G = ${G} heads: H / G = ${H / G} heads of queries share one.` : "",
];
const valueWords = () => ["A third matrix makes the values: what a token gives to those that attend to it."];

/** The strongest key of the chosen token in the chosen head. */
function strongest(box, { here, head, tokens }) {
    const row = here.row.subarray(head * here.width, (head + 1) * here.width), best = largest(row);
    return [token(tokens(isSelf(box) ? box.text : 0)[best]), `, ${share(row[best])}.`];
}

/** What is added to the score of query t and key s in head h. */
const BIASES = { alibi: " − m |t − s|", relative: " + W[bucket(s − t), h]" };

export const ATTENTION = {
    queries: projection("Queries", "Q", "CrossAttention.forward", "self.query_projection(x)", queryWords),
    keys: projection("Keys", "K", "CrossAttention.project", "self.kv_projection(memory)", keyWords),
    values: projection("Values", "V", "CrossAttention.project", "self.kv_projection(memory)", valueWords),
    weights: {
        title: "Attention weights",
        equation: (box, { positions }) =>
            `A = softmax(Q Kᵀ / √E${(isSelf(box) && BIASES[positions]) || ""})`,
        code(box, { positions, window }) {
            const found = [["blocks/attention.py", "attention_weights", ".softmax(-1) * mask"]];
            if (box.causal) found.push(["blocks/masks.py", "causal_mask", ".tril"]);
            if (window && isSelf(box)) found.push(["blocks/masks.py", "window_mask", "< width"]);
            if (positions === "alibi" && isSelf(box))
                found.push(["blocks/alibi.py", box.causal ? "causal_alibi" : "alibi", "return"]);
            if (positions === "relative" && isSelf(box))
                found.push(["blocks/relative.py", "RelativePositions.forward", "F.embedding"]);
            return found;
        },
        words: (box, c) => [
            `The product of a query and a key, divided by √E = ${brief(Math.sqrt(c.E))}, is a score. A softmax turns `,
            `all scores of a query into weights of sum 1. In head ${c.head} `, c.it, " attends most to ",
            ...strongest(box, c),
            box.causal ? " Later tokens have a weight of 0: no token may attend to its future." : "",
            c.window && isSelf(box) ? ` So have those that are ${c.window} or more positions away.` : "",
            c.positions === "alibi" && isSelf(box) ? " ALiBi lowers scores by distance, in each head differently." : "",
            c.positions === "relative" && isSelf(box) ? " A learned number is added for the distance, in each head." : "",
        ],
    },
    heads: {
        title: "Weighted values",
        equation: () => "head = A V",
        code: () => [
            ["blocks/attention.py", "attention", "return"],
            ["blocks/attention.py", "ScaledDotProductAttention._kernel", "mask, dropout, enable_gqa"],
        ],
        words: (_, { E, H }) => [
            `Each head adds up the values, each times its weight. The sums, E = ${E} numbers in each of H = ${H} `,
            "heads, are what a token has collected from the others.",
        ],
    },
    attention: {
        title: "Output projection",
        equation: () => "Concat(head₁, …, head_H) W_O",
        code: (box) => [
            [FILE, "join_heads", "flatten"],
            [FILE, `${isSelf(box) ? "MultiHead" : "Cross"}Attention.forward`, "self.output_projection"],
        ],
        words: (_, { D, H, E, norm, it }) => [
            `All heads side by side are H × E = ${H} × ${E} = ${H * E} numbers. `,
            `A matrix of ${H * E === D ? "D × D" : "D × (H × E)"} mixes them. `,
            "This is what attention adds to the stream; for ", it, ` it has a norm of ${norm}.`,
        ],
    },
};
