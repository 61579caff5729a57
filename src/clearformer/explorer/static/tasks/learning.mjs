/* What a model would say, at a checkpoint: of one place, and going on by itself. */

import { rowOf, softmax } from "./probability.mjs";

/** The probabilities of all outputs at position `at`, of a classifier at its only one. */
export function probabilities({ model }, { inputs, at }) {
    const logits = model.run(inputs);
    return softmax(rowOf(logits, logits.shape.length > 2 ? at : 0));
}

/** What a GPT writes after a text, or an encoder-decoder of a source: at most `most` likeliest tokens, as text. */
export function continuation({ model, vocabulary }, { inputs, most }) {
    const { source } = inputs, given = source ? { source: source.slice(0, -1) } : inputs; /* <eos> is added to it */
    const ids = model.generate(given, { temperature: 0, maxTokens: most, slide: !source });
    return Array.from(ids, (id) => vocabulary.texts[id]).join("");
}
