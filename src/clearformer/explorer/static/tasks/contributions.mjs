/* Direct contributions: how much each part of a model adds to one logit.

       x = embedding + sum of heads + sum of feed-forward layers + biases          the residual stream
       logit = w · Norm(x) + b = sum over parts of w · M part + biases

   M is the norm with its scale held, so that the parts sum to the logit: clearformer/inspection/contributions.py says more.
   Of a logit that is capped it is the number before the cap; of an encoder-decoder, the decoder's parts. */

import { stacksOf, sublayersOf } from "../stacks.mjs";
import { add, dot, hold, parametersOf, sumOf, times } from "./vectors.mjs";

const POOLINGS = ["first", "last", "mean"]; /* as transformer.h has them */

/** { names, values }: of each part what it adds to the logit of `output`, at token `at`, which a classifier ignores. */
export function contributions({ model }, { inputs, at, output }) {
    const stack = stacksOf(model.family, model.sizes).at(-1), { L } = model.sizes, read = new Reader(model, stack, inputs);
    const classifies = model.family === "classifier", places = classifies ? pooled(read.T, model.sizes) : [[at, 1]];
    const head = classifies ? "class_projection" : "output_projection", { parameter } = read, D = model.sizes.D;
    const weight = (parameter(`${head}.weight`) ?? parameter("embedding.weight")).slice(output * D, (output + 1) * D);
    const names = ["biases", "embedding", ...Array.from({ length: L }, (_, l) => read.partsOf(l)).flat()], values = new Float64Array(names.length);
    for (const [t, share] of places) {
        const parts = read.parts(t);
        if (model.family === "bert") transformed(parts, parameter, model.sizes);
        parts.forEach((part, i) => (values[i] += share * dot(part, weight)));
    }
    values[0] += parameter(`${head}.bias`)?.[output] ?? 0;
    return { names, values };
}

/** Which tokens a classifier's vector is made of, and their shares: as `share` in families.c. */
function pooled(T, { pooling }) {
    if (POOLINGS[pooling] === "mean") return Array.from({ length: T }, (_, t) => [t, 1 / T]);
    return [[POOLINGS[pooling] === "first" ? 0 : T - 1, 1]];
}

/** The parts of the vectors behind the final norm. */
class Reader {
    constructor(model, stack, inputs) {
        const { L, H, D } = model.sizes, sublayers = sublayersOf(model.family, stack);
        const places = Array.from({ length: L }, (_, l) => sublayers.map((sublayer) => placeOf(stack, l, sublayer))).flat();
        Object.assign(this, { stack, sublayers, sizes: model.sizes, E: D / H, kept: model.keep([`${stack.name}.input`, ...places], inputs) });
        this.parameter = parametersOf(model);
        this.T = this.kept[`${stack.name}.input`].shape[1];
    }

    /** The names of layer l's parts. */
    partsOf(l) {
        const heads = (kind) => Array.from({ length: this.sizes.H }, (_, h) => `layer ${l}${kind} head ${h}`);
        const names = { attention: () => heads(""), cross_attention: () => heads(" cross-attention"), feed_forward: () => [`layer ${l} feed-forward`] };
        return this.sublayers.flatMap((sublayer) => names[sublayer]());
    }

    /** At token t: vectors, of which the first collects the biases of linear layers and norms. */
    parts(t) {
        const { stack, sizes: { L, D, postNorm } } = this, parts = [new Float64Array(D), this.#vector(`${stack.name}.input`, t)];
        for (let l = 0; l < L; l++)
            for (const sublayer of this.sublayers) {
                const feedForward = sublayer === "feed_forward", name = `${stack.name}.layers.${l}.${sublayer}`;
                const bias = this.parameter(`${name}.${feedForward ? "linear2" : "output_projection"}.bias`);
                if (feedForward) parts.push(this.#withoutBias(placeOf(stack, l, sublayer), t, bias));
                else parts.push(...this.#heads(placeOf(stack, l, sublayer), t, this.parameter(`${name}.output_projection.weight`)));
                add(parts[0], bias);
                if (postNorm) this.#hold(parts, `${name}_residual.norm`);
            }
        if (!postNorm) this.#hold(parts, `${stack.name}.norm`);
        return parts;
    }

    #vector(name, t) {
        return Float64Array.from(this.kept[name].data.subarray(t * this.sizes.D, (t + 1) * this.sizes.D));
    }

    #withoutBias(name, t, bias) {
        const out = this.#vector(name, t);
        add(out, bias?.map((b) => -b));
        return out;
    }

    /** What each head adds to the stream: its vector [E] times its columns of W_O. */
    #heads(name, t, W) {
        const { E, T, sizes: { D, H } } = this, { data } = this.kept[name];
        return Array.from({ length: H }, (_, h) => times(W, D, data.subarray((h * T + t) * E, (h * T + t + 1) * E), h * E));
    }

    #hold(parts, name) {
        hold(parts, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`), this.sizes.rms);
    }
}

const placeOf = ({ name }, l, sublayer) => `${name}.layers.${l}.${sublayer}${sublayer === "feed_forward" ? "" : ".core"}`;

/** Behind BERT's linear layer, GELU(x) = x Φ(x), held at its Φ(x), and norm; in place. */
function transformed(parts, parameter, { D, rms }) {
    parts.forEach((part, i) => (parts[i] = times(parameter("transform.weight"), D, part)));
    add(parts[0], parameter("transform.bias"));
    const gate = sumOf(parts).map(normal);
    for (const part of parts) for (let d = 0; d < D; d++) part[d] *= gate[d];
    hold(parts, parameter("transform_norm.weight"), parameter("transform_norm.bias"), rms);
}

/** Φ, to 1e-7: Abramowitz and Stegun 1964, 7.1.26. */
function normal(x) {
    const u = 1 / (1 + (0.3275911 * Math.abs(x)) / Math.SQRT2);
    const tail = u * (0.254829592 + u * (-0.284496736 + u * (1.421413741 + u * (-1.453152027 + u * 1.061405429)))) * Math.exp((-x * x) / 2);
    return x > 0 ? 1 - tail / 2 : tail / 2;
}
