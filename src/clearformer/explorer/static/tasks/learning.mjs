/* What a model would say, at a checkpoint: of one place, and going on by itself. */

import { softmax } from "./outputs.mjs";

/** The probabilities of all outputs at position `at`, of a classifier at its only one. */
export function probabilities({ model }, { inputs, at }) {
    const { shape, data } = model.run(inputs), width = shape.at(-1), t = shape.length > 2 ? at : 0;
    return softmax(data.subarray(t * width, (t + 1) * width));
}

/** What a GPT writes after a text, or an encoder-decoder of a source: at most `most` likeliest tokens, as text. */
export function continuation({ model, vocabulary }, { inputs, most }) {
    const { source } = inputs, given = source ? { source: source.slice(0, -1) } : inputs; /* <eos> is added to it */
    const ids = model.generate(given, { temperature: 0, maxTokens: most, slide: !source });
    return Array.from(ids, (id) => vocabulary.texts[id]).join("");
}
