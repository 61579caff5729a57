/* Open a run: the engine, the model with its weights, and the vocabulary. */

import { instantiate } from "../../../engines/c/transformer.mjs";
import { Vocabulary } from "./vocabulary.mjs";

/** `about` is what the page knows of the model. Throws if a file of the run is not as it should be. */
export async function open({ engine: module, weights, config, tokenizer }) {
    const engine = await instantiate(module), model = engine.load(weights, config), vocabulary = new Vocabulary(engine, tokenizer, model.sizes);
    return { session: { engine, model, config, vocabulary, about: { family: model.family, sizes: model.sizes, tokens: vocabulary.texts } } };
}
