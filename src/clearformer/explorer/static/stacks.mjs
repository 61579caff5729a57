/* The stacks of a model and the names of their parts: those that touch.c has, and clearformer/inspection/places.py. */

/** In the order of computation: { name, title, text }; `text` is the number of the text that it reads, and the last stack
    is the one whose vectors become logits. */
export function stacksOf(family, { causalBody }) {
    const encoder = { name: "encoder", title: "Encoder", text: 0 }, decoder = { name: "decoder", title: "Decoder", text: 0 };
    if (family === "transformer") return [encoder, { ...decoder, text: 1 }];
    if (family === "classifier") return [{ ...(causalBody ? decoder : encoder), name: causalBody ? "body.decoder" : "body.encoder" }];
    return [family === "gpt" ? decoder : encoder];
}

/** Of a layer: its two or, in a decoder with a source, three sub-layers. */
export const sublayersOf = (family, stack) =>
    family === "transformer" && stack.name === "decoder" ? ["attention", "cross_attention", "feed_forward"] : ["attention", "feed_forward"];

/** Where the residual stream is: as it enters layer 0, and behind each layer. */
export const streamOf = ({ name }, { L }) =>
    [`${name}.input`, ...Array.from({ length: L }, (_, l) => `${name}.layers.${l}.feed_forward_residual`)];

/** What the points of a stream are called. */
export const pointsOf = ({ L }) => ["embedding", ...Array.from({ length: L }, (_, l) => `after layer ${l}`)];
