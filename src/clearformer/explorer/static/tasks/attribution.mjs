/* Integrated gradients: how much each input token is worth for one logit.

       IG_t = x_t · mean over a in 0 … 1 of ∂F(a x) / ∂x_t      Sundararajan et al. 2017, arXiv:1703.01365, equation 1
       sum over t of IG_t = F(x) - F(0)                         completeness, their proposition 1

   As clearformer/inspection/attribution.py, which says what the baseline is. The engine has gradients of parameters
   alone; in the model that probe.mjs makes, the rows of the embedding are the tokens' vectors, and the logit z is the
   only one that is not always zero, so that the gradient of the loss is ∂z/∂x times a known number. */

import { IGNORE, Trainer } from "../../../engines/c/training.mjs";
import { rowOf } from "./probability.mjs";
import { probe } from "./probe.mjs";
import { dot } from "./vectors.mjs";

/** The share of IG that the points `first` to `end` - 1 of a quadrature of so many `steps` have, for each token of each
    text, and F(x) - F(0): { texts, change }; the whole is the sum of the shares. `at` is the row of the output. */
export function attribution({ engine, model, config }, { inputs, at, output, steps, points: [first, end] }) {
    const made = probe(engine, model, config, inputs, output), trainer = new Trainer(made.model);
    const F = (a) => {
        made.scale(a);
        return rowOf(made.model.run(made.inputs), at)[0];
    };
    try {
        const texts = made.texts.map(({ length }) => new Float64Array(length));
        for (const { a, weight } of gaussLegendre(steps).slice(first, end)) {
            const gradient = gradientOf(made, trainer, F(a), at);
            made.texts.forEach((text, i) => text.forEach(({ id, x }, t) => {
                texts[i][t] += weight * dot(x, gradient.subarray(id * x.length, (id + 1) * x.length));
            }));
        }
        return { texts, change: F(1) - F(0) };
    } finally {
        trainer.free();
        made.model.free();
    }
}

/** ∂z/∂W of the embedding W. The gradient of the loss -ln p_k is (p_0 - [k = 0]) ∂z/∂W, and k the output with the
    larger factor. */
function gradientOf({ model, inputs, embedding }, trainer, z, at) {
    const classifies = model.family === "classifier", others = classifies ? 1 : model.sizes.V - 1;
    const p = 1 / (1 + others * Math.exp(-z)), k = p > 0.5 ? 1 : 0, factor = k === 0 ? p - 1 : p;
    const { length } = inputs.target ?? inputs.tokens ?? inputs;
    const targets = classifies ? [k] : Array.from({ length }, (_, t) => (t === at ? k : IGNORE));
    trainer.backward([{ inputs, targets }]);
    const { gradient, size } = trainer.parts.find(({ name }) => name === embedding);
    return model.memory.floats(gradient, size).map((g) => g / factor);
}

/** Points of 0 to 1 and their weights, which sum to 1: the roots x of the Legendre polynomial P_n, by Newton's method,
    and 1 / ((1 - x²) P_n'(x)²). */
function gaussLegendre(n) {
    return Array.from({ length: n }, (_, i) => {
        let x = -Math.cos((Math.PI * (i + 0.75)) / (n + 0.5)), slope = 1;
        for (let step = 0; step < 8; step++) {
            let [before, p] = [1, x];
            for (let k = 2; k <= n; k++) [before, p] = [p, ((2 * k - 1) * x * p - (k - 1) * before) / k];
            slope = (n * (x * p - before)) / (x * x - 1);
            x -= p / slope;
        }
        return { a: (1 + x) / 2, weight: 1 / ((1 - x * x) * slope * slope) };
    });
}
