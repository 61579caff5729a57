/* Direct contributions: how much each part of a model adds to one logit.

       x = embedding + sum of heads + sum of feed-forward layers + biases          the residual stream
       logit = w · Norm(x) + b = sum over parts of w · M part + biases

   M is the norm with its scale held, so that the parts sum to the logit: clearformer/inspection/contributions.py says
   more. Of a logit that is capped it is the number before the cap; of an encoder-decoder, the decoder's parts. */

import { stacksOf, sublayersOf } from "../stacks.mjs";
import { pass } from "./pass.mjs";
import { sharesOf } from "./pooling.mjs";
import { transform } from "./transform.mjs";
import { add, dot, hold, parametersOf, times } from "./vectors.mjs";

/** { names, values }: of each part what it adds to the logit of `output`, at token `at`, which a classifier ignores. */
export function contributions(session, { inputs, at, output }) {
    const { family, sizes } = session.model, parts = new Parts(session, inputs), { parameter, names } = parts;
    const head = family === "classifier" ? "class_projection" : "output_projection";
    const weights = parameter(`${head}.weight`) ?? parameter("embedding.weight");
    const weight = weights.subarray(output * sizes.D, (output + 1) * sizes.D), values = new Float64Array(names.length);
    for (const [t, share] of family === "classifier" ? sharesOf(parts.T, sizes) : [[at, 1]]) {
        const vectors = parts.at(t);
        if (family === "bert") transform(vectors, parameter, sizes);
        vectors.forEach((vector, i) => (values[i] += share * dot(vector, weight)));
    }
    values[0] += parameter(`${head}.bias`)?.[output] ?? 0;
    return { names, values };
}

/** The parts of the vectors behind the final norm. */
class Parts {
    constructor(session, inputs) {
        const { model } = session, stack = stacksOf(model.family, model.sizes).at(-1);
        const sublayers = sublayersOf(model.family, stack);
        const layers = Array.from({ length: model.sizes.L }, (_, l) => l);
        this.sizes = model.sizes;
        this.stack = stack.name;
        this.sublayers = layers.flatMap((layer) => sublayers.map((kind) => sublayerOf(stack.name, layer, kind)));
        this.names = ["biases", "embedding", ...this.sublayers.flatMap((sublayer) => namesOf(sublayer, model.sizes))];
        this.input = `${stack.name}.input`;
        this.kept = pass(session, inputs, [this.input, ...this.sublayers.map(({ place }) => place)]);
        this.parameter = parametersOf(model);
        this.T = this.kept[this.input].shape[1];
    }

    /** At token t: vectors, of which the first collects the biases of linear layers and norms. */
    at(t) {
        const { D, postNorm } = this.sizes, vectors = [new Float64Array(D), this.#vector(this.input, t)];
        for (const { name, place, attends } of this.sublayers) {
            const bias = this.parameter(`${name}.${attends ? "output_projection" : "linear2"}.bias`);
            vectors.push(...(attends ? this.#heads(name, place, t) : [this.#without(bias, this.#vector(place, t))]));
            add(vectors[0], bias);
            if (postNorm) this.#hold(vectors, `${name}_residual.norm`);
        }
        if (!postNorm) this.#hold(vectors, `${this.stack}.norm`);
        return vectors;
    }

    #vector(place, t) {
        return Float64Array.from(this.kept[place].data.subarray(t * this.sizes.D, (t + 1) * this.sizes.D));
    }

    #without(bias, vector) {
        return bias ? vector.map((x, d) => x - bias[d]) : vector;
    }

    /** What each head adds to the stream: its vector [E] times its columns of W_O. */
    #heads(name, place, t) {
        const { H, E } = this.sizes, W = this.parameter(`${name}.output_projection.weight`);
        const of = (h) => this.kept[place].data.subarray((h * this.T + t) * E, (h * this.T + t + 1) * E);
        return Array.from({ length: H }, (_, h) => times(W, H * E, of(h), h * E));
    }

    #hold(vectors, name) {
        hold(vectors, this.parameter(`${name}.weight`), this.parameter(`${name}.bias`), this.sizes.normKind);
    }
}

function sublayerOf(stack, layer, kind) {
    const name = `${stack}.layers.${layer}.${kind}`, attends = kind !== "feed_forward";
    return { name, layer, kind, attends, place: attends ? `${name}.core` : name };
}

function namesOf({ layer, kind, attends }, { H }) {
    const cross = kind === "cross_attention" ? " cross-attention" : "";
    if (!attends) return [`layer ${layer} feed-forward`];
    return Array.from({ length: H }, (_, h) => `layer ${layer}${cross} head ${h}`);
}
