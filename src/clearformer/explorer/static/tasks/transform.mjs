/* What a BERT does before its output projection, which the engine does not keep:

       Norm(GELU(x W + b))        Devlin et al. 2018, arXiv:1810.04805

   As clearformer/models/bert.py. */

import { add, hold, parametersOf, sumOf, times } from "./vectors.mjs";

const SERIES = [0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429];

/** Of features [1, T, D]. */
export function transformOf(model, { shape, data }) {
    const D = shape.at(-1), out = new Float32Array(data.length), parameter = parametersOf(model);
    for (let at = 0; at < data.length; at += D) {
        const vectors = [data.subarray(at, at + D)];
        transform(vectors, parameter, model.sizes);
        out.set(vectors[0], at);
    }
    return { shape, data: out };
}

/** Of the parts of a vector, in place: GELU(x) = x Φ(x) and the norm are held as they are for their sum. */
export function transform(vectors, parameter, { D, normKind }) {
    vectors.forEach((vector, i) => (vectors[i] = times(parameter("transform.weight"), D, vector)));
    add(vectors[0], parameter("transform.bias"));
    const gate = sumOf(vectors).map(normal);
    for (const vector of vectors) for (let d = 0; d < D; d++) vector[d] *= gate[d];
    hold(vectors, parameter("transform_norm.weight"), parameter("transform_norm.bias"), normKind);
}

/** Φ, to 1e-7: Abramowitz and Stegun 1964, 7.1.26. */
function normal(x) {
    const u = 1 / (1 + (0.3275911 * Math.abs(x)) / Math.SQRT2);
    const tail = SERIES.reduceRight((sum, a) => u * (a + sum), 0) * Math.exp((-x * x) / 2);
    return x > 0 ? 1 - tail / 2 : tail / 2;
}
