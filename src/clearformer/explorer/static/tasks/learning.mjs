/* What a checkpoint has learned: how likely outputs are, and how it would go on. */

import { softmax } from "./outputs.mjs";

/** The probabilities of all outputs at position `at`, of a classifier at its only one. */
export function probabilities({ model }, { inputs, at }) {
    const { shape, data } = model.run(inputs), width = shape.at(-1), t = shape.length > 2 ? at : 0;
    return softmax(data.subarray(t * width, (t + 1) * width));
}

/** What a GPT writes after a text, or an encoder-decoder as its target, at most `most` of the likeliest tokens, as text. */
export function continuation({ model, vocabulary }, { inputs, most }) {
    const given = inputs.source ? { source: inputs.source.slice(0, -1) } : inputs; /* <eos> is added to it */
    return [...model.generate(given, { temperature: 0, maxTokens: most, slide: !inputs.source })].map((id) => vocabulary.texts[id]).join("");
}
