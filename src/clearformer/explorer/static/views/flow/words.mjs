/* The walk: a sentence or two for each box, with the numbers of the text. */

import { element } from "../../dom.mjs";
import { percent, token } from "../../visible.mjs";

const ALMOST = 0.05; /* an activation below it hardly counts */

/** Three digits. */
export const brief = (x) => x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2).replace("-", "−");
export const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
export const largest = (row) => row.reduce((best, x, i) => (x > row[best] ? i : best), 0);

/** Texts and elements about `box`. `c` has the settings (kinds.mjs), what was `found` of the boxes (tasks/flow.mjs), the
    chosen `head`, the places `at` of the chosen token in each text, the name of an `output` and of a text's `tokens`, and of
    a box the token that is `chosen` and its `shape`. */
export function words(box, c) {
    const here = c.found[box.id];
    return WORDS[box.kind](box, { ...c, it: token(c.chosen(box)), here, norm: brief(length(here.row)), T: c.tokens(box.text).length });
}

const said = (text) => element("bdi", { class: "token-text" }, text);

/** The length of the chosen token's vector in the box of a stack, or of the layer. */
const normOf = ({ found }, id) => (found[id] ? brief(length(found[id].row)) : undefined);

/** The stream as a sub-layer reads it: the sum before it, or what enters the stack. */
function before({ stack, sub, layer }, c) {
    const order = ["attention", "cross_attention", "feed_forward"], at = order.indexOf(sub);
    const ids = order.slice(0, at).reverse().map((name) => `${stack}.layer.${name}_residual`).concat(layer ? [`${stack}.layers.${layer - 1}`] : [`${stack}.input`, `${stack}.embedding`]);
    return ids.map((id) => normOf(c, id)).find(Boolean);
}

const WORDS = {
    tokens: (box, { it, T, V, family, here, stack }) => [
        `The ${family === "transformer" ? (box.text ? "target" : "source") : "text"} is cut into ${T} tokens. The model knows V = ${V.toLocaleString("en")} of them, and each has a number: `,
        it, ` is ${here.row[0]}.`, ...(family === "transformer" && box.text ? [" The decoder reads what was written so far, behind <bos>, and predicts at each place what comes next."] : []),
    ],
    embedding: (_, { it, V, D, scaleEmbeddings, norm }) => [
        `A number alone has no meaning. It picks one row of a learned table of V × D = ${V.toLocaleString("en")} × ${D} numbers: the vector of `, it,
        `. ${scaleEmbeddings ? `It is multiplied by √D = ${brief(Math.sqrt(D))}. ` : ""}Its length, or norm, is ${norm}.`,
    ],
    positions: (_, { positions, at, it }) => [
        "Attention alone does not know the order of tokens. So each position has a vector of its own, ",
        positions === "learned" ? "which is learned" : "of sines and cosines of different wavelengths", ". ", it, ` stands at position p = ${at[_.text]}.`,
    ],
    ngrams: (_, { ngramBuckets, it }) => [
        `The last two tokens, and the last three, pick a row in tables of ${ngramBuckets.toLocaleString("en")} rows each. So the vector of `, it, " also depends on the tokens before it.",
    ],
    segments: () => ["An input may have several texts. This learned vector tells the model which of them a token belongs to."],
    input: ({ normed }, { D, norm, it }) => [
        `The sum${normed ? ", normalised," : ""} is where the residual stream begins: D = ${D} numbers for each token. All layers read from it and write to it. `, it, ` begins with a norm of ${norm}.`,
    ],
    norm: (box, c) => [
        `Before the sub-layer reads the stream, each vector is brought to one scale: ${c.rms ? "a root mean square" : "a mean of 0 and a variance"} of 1, times learned weights. `,
        ...(before(box, c) ? ["The norm of ", c.it, ` goes from ${before(box, c)} to ${c.norm}.`] : ["The norm of ", c.it, ` is ${c.norm} now.`]),
    ],
    queries: ({ sub }, { H, E, qkNorm, positions }) => [
        `Each ${sub === "attention" ? "token" : "target token"} asks a question: a matrix turns its vector into a query, E = ${E} numbers for each of H = ${H} heads.`,
        qkNorm ? " Each query is normalised." : "", rotated(sub, positions),
    ],
    keys: ({ sub }, { H, G, qkNorm, positions }) => [
        `Each ${sub === "attention" ? "token" : "token of the source, as the encoder has understood it,"} offers a key, with which queries are compared.`,
        G < H ? ` There are only G = ${G} heads of keys and values, each shared by H / G = ${H / G} heads of queries.` : "", qkNorm ? " Each key is normalised." : "", rotated(sub, positions),
    ],
    values: () => ["The value is what a token hands on to those that attend to it."],
    weights(box, c) {
        const { here, head, E, it, tokens, window, positions } = c, row = here.row.subarray(head * here.width, (head + 1) * here.width), best = largest(row);
        const keys = tokens(box.sub === "cross_attention" ? 0 : box.text);
        return [
            `Each query is compared with each key: their product, divided by √E = ${brief(Math.sqrt(E))}. A softmax turns these scores into weights of sum 1. In head ${head} `,
            it, " attends most to ", token(keys[best]), `, ${percent(row[best])}.`, box.causal ? " A token may not attend to later ones: their weight is 0." : "",
            window && box.sub === "attention" ? ` Nor to those ${window} or more positions away.` : "", positions === "alibi" && box.sub === "attention" ? " ALiBi lowers scores by distance, in each head by another slope." : "",
        ];
    },
    heads: (_, { E, H }) => [`Each head adds up the values, each times its weight. So E = ${E} numbers in each of H = ${H} heads now hold what a token has found elsewhere.`],
    attention: (_, { D, H, E, norm, it }) => [`The heads side by side are H × E = ${H} × ${E} = ${D} numbers. A matrix mixes them: this is what attention adds to the stream. For `, it, ` it has a norm of ${norm}.`],
    residual: (box, c) => [
        c.postNorm ? "What the sub-layer wrote is added to the stream, and the sum is normalised" : "What the sub-layer wrote is added to the stream, which keeps what was there before",
        `. The norm of `, c.it, before(box, c) ? ` goes from ${before(box, c)} to ${c.norm}.` : ` is ${c.norm} now.`,
    ],
    linear1: (_, { D, F, gated }) => [
        "Attention has mixed tokens; from here on each is treated alone. ",
        gated ? `Two matrices widen its vector from D = ${D} to F = ${F} numbers each, a gate and what it lets through.` : `A matrix widens its vector from D = ${D} to F = ${F} numbers, the neurons.`,
    ],
    activation: (_, { activation, F, here, it }) => {
        const active = here.row.reduce((sum, x) => sum + (Math.abs(x) > ALMOST), 0), zeros = here.row.reduce((sum, x) => sum + (x === 0), 0);
        const count = [" For ", it, zeros ? `, ${F - zeros} of ${F} are not 0.` : `, ${active} of ${F} are larger than ${ALMOST} in size.`];
        return [ACTIVATIONS[activation], ...count];
    },
    linear2: (_, { D, F, norm, it }) => [`A matrix narrows the F = ${F} numbers to D = ${D}: what the feed-forward layer adds to the stream. For `, it, ` it has a norm of ${norm}.`],
    end: ({ stack, cross }, { L, postNorm, family, norm, it }) => [
        `After L = ${L} ${L > 1 ? "layers, each with weights of its own," : "layer"} the ${stack.split(".").at(-1)} is done. `,
        postNorm ? "" : "A last norm brings the stream to one scale. ", "The norm of ", it, ` is ${norm}. `,
        family === "transformer" && !cross ? "These vectors are what the decoder’s cross-attention reads." : "",
    ],
    transform: (_, { D }) => [`A matrix of D × D = ${D} × ${D}, an activation and a norm prepare the vectors for the output.`],
    pooled: ({ text }, { pooling, tokens }) => [
        ["The vector of the first token, ", "The vector of the last token, ", "The mean of all vectors"][pooling],
        ...(pooling < 2 ? [token(tokens(text).at(pooling ? -1 : 0)), ","] : []), " stands for the whole text.",
    ],
    logits: (_, { family, V, C, D, tieEmbeddings, here, output }) => [
        family === "classifier" ? `A matrix of C × D = ${C} × ${D} turns it into a score for each class, a logit.`
            : `The vector is compared with a row for each of the V = ${V.toLocaleString("en")} tokens${tieEmbeddings ? ", those of the embedding’s own table" : ""}: their product is a score, a logit.`,
        " The largest is ", brief(here.row[largest(here.row)]), ", of ", said(output(largest(here.row))), ".",
    ],
    probabilities: (_, { family, here, output, it }) => [
        "A softmax turns the scores into probabilities of sum 1: ", said(output(largest(here.row))), ` has ${percent(here.row[largest(here.row)])}. `,
        ...({ classifier: ["That is the class of the text."], bert: ["That is the model’s guess for the place of ", it, "."] }[family] ?? ["That is the model’s guess of what follows ", it, "."]),
    ],
};

const ACTIVATIONS = {
    relu: "ReLU sets negative numbers to 0.",
    gelu: "GELU keeps large numbers and brings negative ones near to 0.",
    squared_relu: "Negative numbers become 0, and the others are squared.",
    swiglu: "The gate goes through SiLU, x / (1 + exp(−x)), and multiplies the other half, number by number.",
    geglu: "The gate goes through GELU and multiplies the other half, number by number.",
};

const rotated = (sub, positions) => (positions === "rotary" && sub === "attention" ? " It is rotated by an angle that grows with its position, so that products depend on the distance." : "");
