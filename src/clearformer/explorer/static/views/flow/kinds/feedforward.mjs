/* The feed-forward layer: wider, an activation, narrower. */

const FILE = "blocks/feedforward.py";
const SMALL = 0.05; /* an activation below it is called small */

const FUNCTIONS = {
    relu: {
        equation: "f = max(0, h)", code: [FILE, "relu", "clamp"],
        words: "ReLU sets negative numbers to 0.",
    },
    gelu: {
        equation: "f = h · Φ(h), Φ the normal distribution", code: [FILE, "gelu", "erf"],
        words: "GELU keeps large numbers, and brings negative ones near to 0.",
    },
    gelu_tanh: {
        equation: "f = h/2 · (1 + tanh(√(2/π) (h + 0.044715 h³)))", code: [FILE, "gelu_tanh", "torch.tanh"],
        words: "GELU, approximated by tanh, keeps large numbers, and brings negative ones near to 0.",
    },
    squared_relu: {
        equation: "f = max(0, h)²", code: [FILE, "SquaredReLU.forward", "positive * positive"],
        words: "Negative numbers become 0, the others are squared.",
    },
    swiglu: {
        equation: "f = SiLU(g) · u, SiLU(g) = g / (1 + exp(−g))", code: [FILE, "silu", "sigmoid"],
        words: "SiLU of the gate multiplies the other half, number by number.",
    },
    geglu: {
        equation: "f = GELU(g) · u, GELU(g) = g · Φ(g)", code: [FILE, "gelu", "erf"],
        words: "GELU of the gate multiplies the other half, number by number.",
    },
    geglu_tanh: {
        equation: "f = GELU(g) · u, GELU(g) = g/2 · (1 + tanh(√(2/π) (g + 0.044715 g³)))",
        code: [FILE, "gelu_tanh", "torch.tanh"],
        words: "GELU of the gate, approximated by tanh, multiplies the other half, number by number.",
    },
};

export const FEED_FORWARD = {
    linear1: {
        title: "First matrix",
        equation: (_, { gated, bias }) => (gated ? "g, u = x W₁, x W₂" : `h = x W₁${bias ? " + b₁" : ""}`),
        code: (_, { gated }) => (gated
            ? [[FILE, "gated", "x @ gate.T"], [FILE, "GatedFeedForward.forward", "self.linear1(x)"]]
            : [[FILE, "feed_forward", "hidden ="], [FILE, "FeedForward.forward", "self.linear1(x)"]]),
        words: (_, { D, F, gated }) => [
            "Attention mixes tokens; the feed-forward layer treats each alone. ",
            gated
                ? `Two matrices turn its D = ${D} numbers into F = ${F} each: a gate, and what it multiplies.`
                : `A matrix turns its D = ${D} numbers into F = ${F}, the neurons.`,
        ],
    },
    activation: {
        title: "Activation",
        equation: (_, { activation }) => FUNCTIONS[activation].equation,
        code: (_, { activation, gated }) => [
            FUNCTIONS[activation].code, [FILE, `${gated ? "Gated" : ""}FeedForward.forward`, "self.activation("],
        ],
        words(_, { activation, F, here: { row }, it }) {
            const zeros = row.filter((x) => x === 0).length, large = row.filter((x) => Math.abs(x) > SMALL).length;
            const counted = zeros ? `${F - zeros} are not 0` : `${large} exceed ${SMALL} in size`;
            return [`${FUNCTIONS[activation].words} Of the F = ${F} numbers of `, it, `, ${counted}.`];
        },
    },
    linear2: {
        title: "Second matrix",
        equation: (_, { gated, bias }) => `y = f W${gated ? "₃" : "₂"}${bias ? ` + b${gated ? "₃" : "₂"}` : ""}`,
        code: (_, { gated }) => [
            [FILE, gated ? "gated" : "feed_forward", "return"],
            [FILE, `${gated ? "Gated" : ""}FeedForward.forward`, "self.linear2"],
        ],
        words: (_, { D, F, norm, it }) => [
            `A second matrix turns the F = ${F} numbers into D = ${D}. This is what the feed-forward layer adds `,
            "to the stream; for ", it, ` it has a norm of ${norm}.`,
        ],
    },
};
