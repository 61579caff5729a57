/* The stacks of a model and the names of their parts, as touch.c and clearformer/inspection/places.py have them. */

export const NORMS = ["layer", "rms", "none"]; /* in the order of transformer.h, as those below */
export const POSITIONS = ["sinusoidal", "learned", "rotary", "alibi", "relative", "none"];

export const hasNorms = ({ normKind }) => NORMS[normKind] !== "none";

/** In the order of computation: { name, title, text }; `text` is the number of the text that the stack reads. The
    vectors of the last stack become logits. */
export function stacksOf(family, { causalBody }) {
    const encoder = { name: "encoder", title: "Encoder", text: 0 };
    const decoder = { name: "decoder", title: "Decoder", text: 0 };
    if (family === "transformer") return [encoder, { ...decoder, text: 1 }];
    const only = family === "gpt" || causalBody ? decoder : encoder;
    return [family === "classifier" ? { ...only, name: `body.${only.name}` } : only];
}

/** Of a layer: its two or, in a decoder with a source, three sub-layers. */
export function sublayersOf(family, { name }) {
    const cross = family === "transformer" && name === "decoder";
    return ["attention", ...(cross ? ["cross_attention"] : []), "feed_forward"];
}

const layersOf = ({ L }, of) => Array.from({ length: L }, (_, l) => of(l));

/** Where the residual stream is: as it enters layer 0, and behind each layer. */
export const streamOf = ({ name }, sizes) =>
    [`${name}.input`, ...layersOf(sizes, (l) => `${name}.layers.${l}.feed_forward_residual`)];

/** What the points of a stream are called. */
export const pointsOf = (sizes) => ["embedding", ...layersOf(sizes, (l) => `after layer ${l}`)];
