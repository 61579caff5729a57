/* What each kind of box computes: its title, its equation, and the functions of the package's source that do it, each as
   [file, name, a part of the line that does it]. Functions of the box and the model's sizes, with the names of settings. */

const ACTIVATIONS = ["relu", "gelu", "squared_relu", "swiglu", "geglu"]; /* in the order of transformer.h */
const POSITIONS = ["sinusoidal", "learned", "rotary", "alibi", "none"];

/** The sizes of a model, with the names of its activation and positions, and the cap of its logits. */
export const settingsOf = ({ sizes, family, run }) => ({
    ...sizes, family, E: sizes.D / sizes.H, activation: ACTIVATIONS[sizes.activation], positions: POSITIONS[sizes.positions],
    gated: sizes.activation > 2, cap: run.config.model.logit_cap ?? 0,
});

const NORM = {
    equation: ({ rms, bias }) => (rms ? "RMSNorm(x) = x / √(mean(x²) + ε) · w" : `LayerNorm(x) = (x − mean(x)) / √(var(x) + ε) · w${bias ? " + b" : ""}`),
    code: ({ rms }) => (rms
        ? [["blocks/norm.py", "rms_norm", "x / torch.sqrt"], ["blocks/norm.py", "RMSNorm.forward", "F.rms_norm"]]
        : [["blocks/norm.py", "layer_norm", "(x - mean)"], ["blocks/norm.py", "LayerNorm.forward", "F.layer_norm"]]),
};
const NAMES = { attention: "Attention", cross_attention: "CrossAttention", feed_forward: "FFN" };
const F = { /* activations: equation, and its source */
    relu: ["max(0, h)", [["blocks/feedforward.py", "relu", "clamp"]]],
    gelu: ["h · Φ(h), Φ the normal distribution", [["blocks/feedforward.py", "gelu", "erf"]]],
    squared_relu: ["max(0, h)²", [["blocks/feedforward.py", "SquaredReLU.forward", "positive * positive"]]],
    swiglu: ["SiLU(g) · u, SiLU(g) = g / (1 + exp(−g))", [["blocks/feedforward.py", "silu", "sigmoid"]]],
    geglu: ["GELU(g) · u, GELU(g) = g · Φ(g)", [["blocks/feedforward.py", "gelu", "erf"]]],
};

/** The three projections of attention: `what` is Query, Key or Value, and `line` computes it in cross-attention. */
const projection = (title, letter, line) => ({
    title,
    equation: ({ sub }, { qkNorm, positions }) => {
        const input = sub === "attention" ? "X" : letter === "Q" ? "X" : "M", product = `${input} W_${letter}`;
        const normed = qkNorm && letter !== "V" ? `Norm(${product})` : product, rotated = positions === "rotary" && letter !== "V" && sub === "attention";
        return `${letter} = ${rotated ? `R(p) ${normed}` : normed}${input === "M" ? ", M the encoder’s output" : ""}`;
    },
    code: ({ sub }, { positions }) => {
        if (sub !== "attention") return [["blocks/multihead.py", letter === "Q" ? "CrossAttention.forward" : "CrossAttention.project", line]];
        const rotary = positions === "rotary" && letter !== "V" ? [["blocks/rotary.py", "rotary", "torch.complex"], ["blocks/rotary.py", "RotaryPositions.forward", "return x * cos"]] : [];
        return [["blocks/multihead.py", "multi_head_attention", "q, k, v ="], ["blocks/multihead.py", "MultiHeadAttention.forward", "split_heads"], ...rotary];
    },
});

export const KINDS = {
    tokens: { title: "Tokens", equation: () => "text → numbers below V", code: () => [] },
    embedding: {
        title: "Token embedding",
        equation: (_, { scaleEmbeddings }) => `x = ${scaleEmbeddings ? "√D · " : ""}W[t], W of V × D`,
        code: () => [["blocks/embedding.py", "token_embedding", "one_hot @ weight"], ["blocks/embedding.py", "TokenEmbedding.forward", "F.embedding"]],
    },
    positions: {
        title: "Positions",
        equation: (_, { positions }) => (positions === "learned" ? "P[p], a learned row for each position" : "P[p, 2i] = sin(p / 10000^(2i/D)), P[p, 2i+1] = cos(p / 10000^(2i/D))"),
        code: (_, { positions }) => (positions === "learned"
            ? [["blocks/positions.py", "LearnedPositions.forward", "F.embedding"]]
            : [["blocks/positions.py", "sinusoidal", "angles.sin()"], ["blocks/positions.py", "SinusoidalPositions.forward", "self.table"]]),
    },
    ngrams: {
        title: "N-gram embedding",
        equation: () => "W₂[hash(t₋₁, t)] + W₃[hash(t₋₂, t₋₁, t)]",
        code: () => [["blocks/ngrams.py", "ngram_hash", "reduce"], ["blocks/ngrams.py", "NGramEmbedding.forward", "F.embedding"]],
    },
    segments: { title: "Segments", equation: () => "W_s[number of the text]", code: () => [["models/bert.py", "BERTBody.features", "self.segments(segments)"]] },
    input: {
        title: "Sum",
        equation: ({ normed, parts }) => {
            const sum = ["W[t]", ...parts.map((part) => ({ positions: "P[p]", ngrams: "N-grams", segments: "W_s" })[part])].join(" + ");
            return `x = ${normed ? `Norm(${sum})` : sum}`;
        },
        code: ({ normed, parts }, sizes) => [
            ...parts.filter((part) => part !== "segments").slice(-1).map((part) => ["models/parts.py", "Embedder.embed", `x + self.${part}(`]), ...(normed ? [["models/bert.py", "BERTBody.features", "self.embedding_norm"], ...NORM.code(sizes)] : []),
        ],
    },
    folded: { title: ({ layer }) => `Layer ${layer}`, equation: () => "", code: () => [] },
    norm: { title: "Norm", equation: (_, sizes) => NORM.equation(sizes), code: (_, sizes) => NORM.code(sizes) },
    queries: projection("Queries", "Q", "self.query_projection(x)"),
    keys: projection("Keys", "K", "self.kv_projection(memory)"),
    values: projection("Values", "V", "self.kv_projection(memory)"),
    weights: {
        title: "Attention weights",
        equation: ({ sub }, { positions }) => `A = softmax(Q Kᵀ / √E${positions === "alibi" && sub === "attention" ? " − m |t − s|" : ""})`,
        code: ({ sub, causal }, { positions, window }) => [
            ["blocks/attention.py", "attention_weights", ".softmax(-1) * mask"],
            ...(causal ? [["blocks/masks.py", "causal_mask", ".tril"]] : []),
            ...(window && sub === "attention" ? [["blocks/masks.py", "window_mask", "< width"]] : []),
            ...(positions === "alibi" && sub === "attention" ? [["blocks/alibi.py", causal ? "causal_alibi" : "alibi", "return"]] : []),
        ],
    },
    heads: {
        title: "Weighted values",
        equation: () => "head = A V",
        code: () => [["blocks/attention.py", "attention", "return"], ["blocks/attention.py", "ScaledDotProductAttention._kernel", "mask, dropout, enable_gqa"]],
    },
    attention: {
        title: "Heads joined",
        equation: () => "Concat(head₁, …, head_H) W_O",
        code: ({ sub }) => [["blocks/multihead.py", "join_heads", "flatten"], ["blocks/multihead.py", `${sub === "attention" ? "MultiHead" : "Cross"}Attention.forward`, "self.output_projection"]],
    },
    residual: {
        title: "Sum with the stream",
        equation: ({ sub }, { postNorm }) => (postNorm ? `x ← Norm(x + ${NAMES[sub]}(x))` : `x ← x + ${NAMES[sub]}(Norm(x))`),
        code: (_, sizes) => [["blocks/residual.py", `${sizes.postNorm ? "Post" : "Pre"}NormResidual.forward`, "return"], ...(sizes.postNorm ? NORM.code(sizes) : [])],
    },
    linear1: {
        title: "Widen",
        equation: (_, { gated, bias }) => (gated ? "g, u = x W₁, x W₂" : `h = x W₁${bias ? " + b₁" : ""}`),
        code: (_, { gated }) => (gated
            ? [["blocks/feedforward.py", "gated", "x @ gate.T"], ["blocks/feedforward.py", "GatedFeedForward.forward", "self.linear1(x)"]]
            : [["blocks/feedforward.py", "feed_forward", "hidden ="], ["blocks/feedforward.py", "FeedForward.forward", "self.linear1(x)"]]),
    },
    activation: { title: "Activation", equation: (_, { activation }) => `f = ${F[activation][0]}`, code: (_, { activation }) => F[activation][1] },
    linear2: {
        title: "Narrow",
        equation: (_, { gated, bias }) => `y = f W${gated ? "₃" : "₂"}${bias ? " + b" : ""}`,
        code: (_, { gated }) => [["blocks/feedforward.py", gated ? "gated" : "feed_forward", "return"], ["blocks/feedforward.py", `${gated ? "Gated" : ""}FeedForward.forward`, "self.linear2"]],
    },
    end: {
        title: "End of the stack",
        equation: (_, sizes) => (sizes.postNorm ? "x, as the last layer leaves it" : NORM.equation(sizes)),
        code: ({ cross }, sizes) => [cross ? ["blocks/decoder.py", "Decoder.forward", "self.norm(x)"] : ["blocks/encoder.py", "Encoder.forward", "self.norm(x)"], ...(sizes.postNorm ? [] : NORM.code(sizes))],
    },
    transform: { title: "Transform", equation: () => "Norm(GELU(x W + b))", code: (_, sizes) => [["models/bert.py", "BERT.forward", "self.transform("], ["blocks/feedforward.py", "gelu", "erf"], ...NORM.code(sizes)] },
    pooled: {
        title: "Pooling",
        equation: (_, { pooling }) => ["x of the first token", "x of the last token", "mean over t of x_t"][pooling],
        code: (_, { pooling }) => [["models/classifier.py", ["first", "last", "mean"][pooling], "return"]],
    },
    logits: {
        title: "Logits",
        equation: (_, { family, cap }) => (family === "classifier" ? "z = x W + b" : `z = ${cap ? "c · tanh(x Wᵀ / c)" : "x Wᵀ"}${family === "bert" ? " + b" : ""}`),
        code: (_, { family, cap }) => (family === "classifier"
            ? [["models/classifier.py", "Classifier.forward", "self.class_projection"]]
            : [["blocks/output.py", "OutputProjection.forward", "F.linear"], ...(cap ? [["blocks/output.py", "soft_cap", "tanh"]] : [])]),
    },
    probabilities: { title: "Probabilities", equation: () => "p_i = exp(z_i) / Σ_j exp(z_j)", code: () => [["generation/sampling.py", "_softmax", "exponentials.sum"]] },
};
