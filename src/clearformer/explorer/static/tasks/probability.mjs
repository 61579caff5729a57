/* Probabilities of logits, in float64:   p_i = exp(z_i) / Σ_j exp(z_j),   ln p_i = z_i - ln Σ_j exp(z_j) */

export function softmax(logits) {
    const p = new Float64Array(logits.length);
    let most = -Infinity, total = 0;
    for (const z of logits) most = Math.max(most, z);
    for (let i = 0; i < p.length; i++) total += p[i] = Math.exp(logits[i] - most);
    for (let i = 0; i < p.length; i++) p[i] /= total;
    return p;
}

/** The `top` largest numbers and their places; of equals the first. */
export function likeliest(p, top) {
    const least = p.slice().sort()[Math.max(p.length - top, 0)];
    const found = [...p.keys()].filter((id) => p[id] >= least).map((id) => ({ id, p: p[id] }));
    return found.sort((a, b) => b.p - a.p).slice(0, top);
}

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
