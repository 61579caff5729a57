/* Open a run: the engine, the model with its weights, and the vocabulary. */

import { instantiate } from "../../../engines/c/transformer.mjs";
import { Vocabulary } from "./vocabulary.mjs";

/** `about` is what the page knows of the model. Throws if a file of the run is not as it should be. */
export async function open({ engine: bytes, weights, config, tokenizer, target, names }) {
    const engine = await instantiate(bytes), model = engine.load(weights, config), { family, sizes } = model;
    const vocabulary = new Vocabulary(engine, tokenizer, sizes, names, target), { special } = vocabulary;
    return { engine, config, model, vocabulary, about: { family, sizes, tokens: vocabulary.texts, special } };
}
