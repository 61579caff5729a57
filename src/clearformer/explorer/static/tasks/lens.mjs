/* Logit lens: what would the model say if it stopped early?      nostalgebraist 2020, "interpreting GPT: the logit lens"

       lens(l) = Unembed(Norm(x_l))        x_l: the residual stream that enters layer l; at the end, the final norm

   As clearformer/inspection/lens.py, which says more: a classifier's classes are those of each token, before pooling, and
   a post-norm model has no final norm. */

import { stacksOf, streamOf } from "../stacks.mjs";
import { likeliest } from "./outputs.mjs";
import { logProbabilities, rowOf } from "./probability.mjs";
import { dot, hold, parametersOf } from "./vectors.mjs";

/** Of each of L + 1 points and T tokens: the likeliest output, `ids`, its probability, `p`, and `logP`, the log
    probability of the output `targets[t]`, if there is one; all [L + 1, T]. `top` are the
    likeliest outputs at `cell`, [point, token], { id, p }. */
export function lens({ model }, { inputs, targets = [], top: most = 10, cell: [point, token] }) {
    const stack = stacksOf(model.family, model.sizes).at(-1), names = streamOf(stack, model.sizes), stream = model.keep(names, inputs);
    const T = stream[names[0]].shape[1], size = names.length * T;
    const ids = new Int32Array(size), p = new Float64Array(size), logP = new Float64Array(size).fill(NaN);
    let top;
    names.forEach((name, l) => {
        const logits = unembedded(model, stack, stream[name]);
        for (let t = 0; t < T; t++) {
            const found = logProbabilities(rowOf(logits, t)), best = largest(found);
            ids[l * T + t] = best;
            p[l * T + t] = Math.exp(found[best]);
            if (targets[t] !== undefined) logP[l * T + t] = found[targets[t]];
            if (l === point && t === token) top = likeliest(found.map(Math.exp), most);
        }
    });
    return { T, ids, p, logP, top };
}

const largest = (found) => found.reduce((best, value, i) => (value > found[best] ? i : best), 0);

/** The logits [T, V], or a classifier's [T, C], of the stream [1, T, D]. */
function unembedded(model, stack, { shape: [, T, D], data }) {
    const { V, C, postNorm, rms } = model.sizes, classifies = model.family === "classifier", shape = [T, classifies ? C : V];
    const vectors = Array.from({ length: T }, (_, t) => Float64Array.from(data.subarray(t * D, (t + 1) * D))), parameter = parametersOf(model);
    if (!postNorm)
        for (const x of vectors) hold([x], parameter(`${stack.name}.norm.weight`), parameter(`${stack.name}.norm.bias`), rms);
    return model.memory.within((scope) => {
        const x = scope.copy(Float32Array.from(vectors.flatMap((vector) => [...vector]))), logits = scope.take(4 * T * shape[1]);
        const room = model.room(scope, { B: T, T: 1, S: 0 });
        if (!classifies) model.c.token_logits(model.at, BigInt(T), x, logits, room);
        else model.c.class_logits(model.at, scope.struct("batch", T, 1, 0, 0, scope.copy(new Uint8Array(T).fill(1)), 0), x, logits, room);
        return model.array(shape, logits);
    });
}

/** The length of the stream's vectors, [L + 1, T] of each stack. */
export function norms({ model }, { inputs }) {
    return stacksOf(model.family, model.sizes).map((stack) => {
        const names = streamOf(stack, model.sizes), stream = model.keep(names, inputs), [, T, D] = stream[names[0]].shape;
        const length = (data, t) => Math.sqrt(dot(data.subarray(t * D, (t + 1) * D), data.subarray(t * D, (t + 1) * D)));
        return { T, values: Float64Array.from(names.flatMap((name) => Array.from({ length: T }, (_, t) => length(stream[name].data, t)))) };
    });
}
