/* Open a run: the engine, the model with its weights, and the vocabulary. */

import { instantiate } from "../../../engines/c/transformer.mjs";
import { Vocabulary } from "./vocabulary.mjs";

/** `about` is what the page knows of the model. Throws if a file of the run is not as it should be. */
export async function open({ engine, weights, config, tokenizer }) {
    const model = (await instantiate(engine)).load(weights, config), vocabulary = vocabularyOf(tokenizer), { V } = model.sizes;
    const tokens = vocabulary.texts(V);
    return { session: { model, vocabulary, about: { family: model.family, sizes: model.sizes, tokens } } };
}

function vocabularyOf(json) {
    try {
        return new Vocabulary(json);
    } catch (error) {
        throw Error(`a tokenizer in Hugging Face's format was expected, but: ${error.message}; use the run's own tokenizer.json`);
    }
}
