/* What a BERT does before its output projection, which the engine does not keep:

       Norm(GELU(x W + b))        Devlin et al. 2018, arXiv:1810.04805

   As clearformer/models/bert.py. */

import { parametersOf } from "./vectors.mjs";

const EPS = 1e-5; /* of norms, as in PyTorch */
const ERF = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];

/** Of features [1, T, D]. */
export function transformOf(model, { shape, data }) {
    const parameter = parametersOf(model), W = parameter("transform.weight"), b = parameter("transform.bias");
    const weight = parameter("transform_norm.weight"), bias = parameter("transform_norm.bias");
    const D = shape.at(-1), out = new Float32Array(data.length), meanOf = (y) => y.reduce((sum, x) => sum + x, 0) / D;
    for (let at = 0; at < data.length; at += D) {
        const y = Float64Array.from(b, (start, i) => gelu(start + product(W, i * D, data, at, D)));
        const mean = model.sizes.rms ? 0 : meanOf(y), square = meanOf(y.map((x) => (x - mean) ** 2));
        const deviation = Math.sqrt(square + EPS);
        y.forEach((x, i) => (out[at + i] = ((x - mean) / deviation) * weight[i] + (bias?.[i] ?? 0)));
    }
    return { shape, data: out };
}

function product(x, i, y, j, n) {
    let sum = 0;
    for (let k = 0; k < n; k++) sum += x[i + k] * y[j + k];
    return sum;
}

const gelu = (x) => (x / 2) * (1 + erf(x / Math.SQRT2));

/** With an error of at most 1.5e-7: Abramowitz & Stegun 1964, 7.1.26. */
function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x)), polynomial = t * ERF.reduce((sum, a) => sum * t + a, 0);
    return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}
