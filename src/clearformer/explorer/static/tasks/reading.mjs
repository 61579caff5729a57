/* What a classifier says while it reads: of the first n tokens of a text, for every n. */

import { EOS } from "../../../engines/c/decoding.mjs";
import { softmax } from "./outputs.mjs";

const ROWS = 32; /* texts in a pass */

/** `inputs` begin with <bos> and end with <eos>. Returns the probabilities [n, C], each as an array. */
export function reading({ model }, { inputs: { tokens, segments } }) {
    const texts = tokens.slice(0, -1).map((_, n) => ({ tokens: [...tokens.slice(0, n + 1), EOS], segments: [...segments.slice(0, n + 1), segments[n]] }));
    const found = [];
    for (let first = 0; first < texts.length; first += ROWS) {
        const some = texts.slice(first, first + ROWS);
        const { shape: [, C], data } = model.run({ tokens: some.map((text) => text.tokens), segments: some.map((text) => text.segments) });
        some.forEach((_, i) => found.push(softmax(data.subarray(i * C, (i + 1) * C))));
    }
    return found;
}
