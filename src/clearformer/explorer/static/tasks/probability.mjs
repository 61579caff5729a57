/* Log probabilities, in float64:   ln p_i = z_i - ln Σ_j exp(z_j) */

export function logProbabilities(logits) {
    let most = -Infinity, total = 0;
    for (const z of logits) most = Math.max(most, z);
    for (const z of logits) total += Math.exp(z - most);
    const log = most + Math.log(total);
    return Float64Array.from(logits, (z) => z - log);
}

/** Row t of { shape, data } as an array. */
export function rowOf({ shape, data }, t) {
    const width = shape.at(-1);
    return data.subarray(t * width, (t + 1) * width);
}
