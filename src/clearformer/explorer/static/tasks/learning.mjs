/* What a model would say, at a checkpoint: of one place, and going on by itself. */

import { decoderOf, logitsOf, pass } from "./pass.mjs";
import { rowOf, softmax } from "./probability.mjs";

/** The probabilities of all outputs at position `at`, of a classifier at its only one. */
export function probabilities(session, { inputs, at }) {
    const logits = logitsOf(pass(session, inputs));
    return softmax(rowOf(logits, logits.shape.length > 2 ? at : 0));
}

/** What a GPT writes after a text, or an encoder-decoder of a source: at most `most` likeliest tokens, as text. */
export function continuation(session, { inputs, most }) {
    const { model, vocabulary } = session, { source } = inputs;
    const given = source ? { source: source.slice(0, -1) } : inputs; /* <eos> is added to it */
    const ids = model.generate(given, {
        temperature: 0, maxTokens: most, slide: !source, decoder: source ? undefined : decoderOf(session, inputs),
    });
    return Array.from(ids, (id) => vocabulary.texts[id]).join("");
}
