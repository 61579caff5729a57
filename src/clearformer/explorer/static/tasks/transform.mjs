/* What a BERT does before its output projection, which the engine does not keep:

       Norm(GELU(x W + b))        Devlin et al. 2018, arXiv:1810.04805

   As clearformer/models/bert.py. */

const EPS = 1e-5; /* of norms, as in PyTorch */

/** Of features [1, T, D]. */
export function transformOf({ shape, data }, { rms }, parameter) {
    const D = shape.at(-1), out = new Float32Array(data.length), W = parameter("transform.weight"), b = parameter("transform.bias");
    const weight = parameter("transform_norm.weight"), bias = parameter("transform_norm.bias");
    for (let at = 0; at < data.length; at += D) {
        const y = Float64Array.from(b, (start, i) => {
            let sum = start;
            for (let j = 0; j < D; j++) sum += W[i * D + j] * data[at + j];
            return gelu(sum);
        });
        const mean = rms ? 0 : y.reduce((a, x) => a + x, 0) / D, square = y.reduce((a, x) => a + (x - mean) ** 2, 0) / D;
        y.forEach((x, i) => (out[at + i] = ((x - mean) / Math.sqrt(square + EPS)) * weight[i] + (bias?.[i] ?? 0)));
    }
    return { shape, data: out };
}

const gelu = (x) => (x / 2) * (1 + erf(x / Math.SQRT2));

/** To 1.5e-7: Abramowitz & Stegun 1964, 7.1.26. */
function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const polynomial = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592].reduce((sum, a) => sum * t + a, 0) * t;
    return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}
