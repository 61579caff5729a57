/* What a classifier says while it reads: of the first n tokens of a text, for every n. */

import { EOS } from "../../../engines/c/decoding.mjs";
import { rowOf, softmax } from "./probability.mjs";

const ROWS = 32; /* texts in a pass */

/** `inputs` begin with <bos> and end with <eos>. Returns the probabilities [n, C], each an array of its own. */
export function reading({ model }, { inputs: { tokens, segments } }) {
    const texts = tokens.slice(0, -1).map((_, i) => ({
        tokens: [...tokens.slice(0, i + 1), EOS], segments: [...segments.slice(0, i + 1), segments[i]],
    }));
    const found = [];
    for (let at = 0; at < texts.length; at += ROWS) {
        const some = texts.slice(at, at + ROWS), field = (name) => some.map((text) => text[name]);
        const logits = model.run({ tokens: field("tokens"), segments: field("segments") });
        some.forEach((_, i) => found.push(softmax(rowOf(logits, i))));
    }
    return found;
}
