/* Logit lens: what would the model say if it stopped early?    nostalgebraist 2020, "interpreting GPT: the logit lens"

       lens(l) = Unembed(Norm(x_l))        x_l: the residual stream that enters layer l; at the end, the final norm

   As clearformer/inspection/lens.py, which says more: a classifier's classes are those of each token, before pooling,
   and a post-norm model has no final norm. */

import { stacksOf, streamOf } from "../stacks.mjs";
import { pass } from "./pass.mjs";
import { likeliest, logProbabilities, rowOf } from "./probability.mjs";
import { dot, hold, parametersOf } from "./vectors.mjs";

const TOP = 10; /* outputs */

/** Of each of L + 1 points and T tokens: the likeliest output, `ids`, its probability, `p`, and `logP`, the log
    probability of the output `targets[t]`, if there is one; all [L + 1, T]. `top` are the likeliest outputs at `cell`,
    [point, token], { id, p }. */
export function lens(session, { inputs, targets = [], cell: [point, token] }) {
    const { model } = session, stack = stacksOf(model.family, model.sizes).at(-1);
    const names = streamOf(stack, model.sizes), stream = pass(session, inputs, names);
    const [, T] = stream[names[0]].shape, size = names.length * T;
    const ids = new Int32Array(size), p = new Float64Array(size), logP = new Float64Array(size).fill(NaN);
    const norm = model.sizes.postNorm ? undefined : finalNorm(model, stack);
    let top;
    names.forEach((name, l) => {
        const logits = unembedded(model, norm, stream[name]);
        for (let t = 0; t < T; t++) {
            const found = logProbabilities(rowOf(logits, t)), best = largest(found), i = l * T + t;
            [ids[i], p[i]] = [best, Math.exp(found[best])];
            if (targets[t] !== undefined) logP[i] = found[targets[t]];
            if (l === point && t === token) top = likeliest(found.map(Math.exp), TOP);
        }
    });
    return { T, ids, p, logP, top };
}

const largest = (found) => found.reduce((best, value, i) => (value > found[best] ? i : best), 0);

/** The logits [T, V], or a classifier's [T, C], of the stream [1, T, D]. */
function unembedded(model, norm, stream) {
    const { V, C } = model.sizes, [, T] = stream.shape, shape = [T, model.family === "classifier" ? C : V];
    const features = norm ? normed(norm, stream) : stream.data;
    return model.memory.within((scope) => {
        const x = scope.copy(features), logits = scope.take(4 * T * shape[1]);
        const room = model.room(scope, { B: T, T: 1, S: 0 });
        if (model.family === "classifier") model.c.class_logits(model.at, oneTokenTexts(scope, T), x, logits, room);
        else model.c.token_logits(model.at, BigInt(T), x, logits, room);
        return model.array(shape, logits);
    });
}

/** A struct batch, in which pooling changes nothing. */
const oneTokenTexts = (scope, B) => scope.struct("batch", B, 1, 0, 0, scope.copy(new Uint8Array(B).fill(1)), 0);

/** Copies, as the engine's memory may move. */
function finalNorm(model, { name }) {
    const parameter = parametersOf(model), { normKind } = model.sizes;
    const [weight, bias] = ["weight", "bias"].map((kind) => parameter(`${name}.norm.${kind}`)?.slice());
    return { weight, bias, normKind };
}

/** The stream behind the final norm, [T, D]. */
function normed({ weight, bias, normKind }, { shape: [, T, D], data }) {
    const out = new Float32Array(T * D);
    for (let t = 0; t < T; t++) {
        const x = Float64Array.from(vectorOf(data, t, D));
        hold([x], weight, bias, normKind);
        out.set(x, t * D);
    }
    return out;
}

const vectorOf = (data, t, D) => data.subarray(t * D, (t + 1) * D);

/** The length of the stream's vectors, `values` [L + 1, T], of each stack. */
export function norms(session, { inputs }) {
    const { model } = session;
    return stacksOf(model.family, model.sizes).map((stack) => {
        const names = streamOf(stack, model.sizes), stream = pass(session, inputs, names);
        const [, T, D] = stream[names[0]].shape;
        const length = (x) => Math.sqrt(dot(x, x)), tokens = [...Array(T).keys()];
        const values = names.flatMap((name) => tokens.map((t) => length(vectorOf(stream[name].data, t, D))));
        return { T, values: Float64Array.from(values) };
    });
}
