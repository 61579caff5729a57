/* A copy of a model in which every position has a token of its own, and all logits but one are 0.

   So the embedding's rows are the vectors of the tokens, which can be scaled, and whose gradients the engine has, also
   where a token stands twice, or the output projection shares its matrix. */

import { tensorsOf } from "../../../engines/c/tensors.mjs";
import { safetensors } from "../safetensors.mjs";
import { bucketOf, renumbered } from "./ngrams.mjs";

const CLASSES = 2, BUCKETS = 8; /* outputs of a classifier; of n-grams for each token */

/** { model, inputs, texts, embedding, scale }: `texts` have of each token { id, x }, its number in the copy and its
    vector; `embedding` is the name of their matrix, which scale(a) multiplies by a. Logit 0 is that of `output`. */
export function probe(engine, model, config, inputs, output) {
    const { D, ngramBuckets: buckets } = model.sizes;
    const tensors = new Map(tensorsIn(model).map((each) => [each.name, each]));
    const prefix = model.family === "classifier" ? "body." : "", embedding = `${prefix}embedding.weight`;
    const given = inputs.source ? [inputs.source, inputs.target] : [inputs.tokens ?? inputs];
    const room = buckets && BUCKETS * given.flat().length, numbers = renumbered(given, room);
    const V = Math.max(...numbers.flat()) + 2; /* with one that no text has */
    const made = new Map([...tensors, ...headOf(model, tensors, output, V)]);
    made.set(embedding, { shape: [V, D], data: new Float32Array(V * D) });
    for (const [kind, n] of buckets ? [["pairs", 2], ["triples", 3]] : []) {
        const name = `${prefix}ngrams.${kind}`, from = tensors.get(name).data, data = new Float32Array(room * D);
        given.forEach((ids, i) => ids.forEach((_, t) => {
            const bucket = bucketOf(ids, t, n, buckets);
            data.set(from.subarray(bucket * D, (bucket + 1) * D), bucketOf(numbers[i], t, n, room) * D);
        }));
        made.set(name, { shape: [room, D], data });
    }
    const vector = (id) => tensors.get(embedding).data.slice(id * D, (id + 1) * D);
    const texts = given.map((ids, i) => ids.map((id, t) => ({ id: numbers[i][t], x: vector(id) })));
    const classes = prefix && { num_classes: CLASSES };
    const sizes = { vocab_size: V, tie_embeddings: false, ngram_buckets: room, ...classes };
    const copy = engine.load(safetensors(made), { ...config, model: { ...config.model, ...sizes } });
    const { at } = tensorsIn(copy).find(({ name }) => name === embedding);
    const put = (id, vector) => copy.memory.floats(at + 4 * id * D, D).set(vector);
    const scale = (a) => texts.flat().forEach(({ id, x }) => put(id, x.map((value) => a * value)));
    return { model: copy, inputs: withNumbers(inputs, numbers), texts, embedding, scale };
}

const tensorsIn = (model) => model.memory.within((scope) => tensorsOf(model, scope))
    .map(({ name, shape, size, at }) => ({ name, shape, at, data: model.memory.floats(at, size) }));

function withNumbers(inputs, [first, second]) {
    if (inputs.source) return { source: first, target: second };
    return inputs.tokens ? { ...inputs, tokens: first } : first;
}

/** The output projection of `output`, and of others with zeros. */
function headOf({ family, sizes: { D } }, tensors, output, V) {
    const classifies = family === "classifier", rows = classifies ? CLASSES : V;
    const name = classifies ? "class_projection" : "output_projection", biases = tensors.get(`${name}.bias`)?.data;
    const weights = (tensors.get(`${name}.weight`) ?? tensors.get("embedding.weight")).data;
    const weight = { shape: [rows, D], data: new Float32Array(rows * D) };
    weight.data.set(weights.subarray(output * D, (output + 1) * D));
    const bias = { shape: [rows], data: new Float32Array(rows) };
    bias.data[0] = biases?.[output] ?? 0;
    return [[`${name}.weight`, weight], ...(biases ? [[`${name}.bias`, bias]] : [])];
}
