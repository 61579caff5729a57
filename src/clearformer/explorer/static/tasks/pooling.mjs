/* A classifier's pooling: one vector from those of all tokens. As `share` in families.c. */

const POOLINGS = ["first", "last", "mean"]; /* as transformer.h has them */

/** Which of T tokens the vector is made of, and their shares. */
export function sharesOf(T, { pooling }) {
    if (POOLINGS[pooling] === "mean") return Array.from({ length: T }, (_, t) => [t, 1 / T]);
    return [[POOLINGS[pooling] === "first" ? 0 : T - 1, 1]];
}

/** The vector [1, 1, D] of features [1, T, D]. */
export function pooled({ shape: [, T, D], data }, sizes) {
    const sum = new Float64Array(D);
    for (const [t, share] of sharesOf(T, sizes)) for (let d = 0; d < D; d++) sum[d] += share * data[t * D + d];
    return { shape: [1, 1, D], data: Float32Array.from(sum) };
}
