/* Scores of heads: what the attention weights A [T, S] of one text look like, as clearformer/inspection/scores.py has
   them.

       entropy    mean over t of -Σ_s A[t, s] ln A[t, s], in nats
       first      mean over t of A[t, 0]
       diagonal   mean over t of A[t, t]; of cross-attention, of A[t, round(t (S - 1) / (T - 1))]
       previous   mean over t of A[t, t - 1]
       induction  mean over t of A[t, t - n + 1] on n random tokens and the same again, t = n … 2n - 1
       monotone   share of t at which argmax A[t] >= argmax A[t - 1]

   Self-attention has the first five, without t = 0 but for the entropy; cross-attention has monotone, not previous. */

const MOST_RANDOM = 25, TEXTS = 8, ORDINARY = 4; /* n of induction, texts, and the first token that is not special */

export function scoresOf(A, T, S, cross) {
    const at = (t, s) => A[t * S + s], first = cross ? 0 : 1;
    const proportional = (t) => roundHalfToEven((t * (S - 1)) / Math.max(T - 1, 1));
    const row = (t) => A.subarray(t * S, (t + 1) * S);
    const both = { entropy: mean(T, 0, (t) => entropy(row(t))), first: mean(T, first, (t) => at(t, 0)) };
    return cross
        ? { ...both, diagonal: mean(T, first, (t) => at(t, proportional(t))), monotone: monotone(A, T, S) }
        : { ...both, diagonal: mean(T, first, (t) => at(t, t)), previous: mean(T, first, (t) => at(t, t - 1)) };
}

/** NaN where there is nothing to take a mean of. */
function mean(T, first, value) {
    let sum = 0;
    for (let t = first; t < T; t++) sum += value(t);
    return sum / (T - first);
}

const entropy = (row) => row.reduce((sum, a) => sum - (a > 0 ? a * Math.log(a) : 0), 0);

function monotone(A, T, S) {
    const strongest = Array.from({ length: T }, (_, t) => {
        const row = A.subarray(t * S, (t + 1) * S);
        return row.indexOf(row.reduce((a, b) => Math.max(a, b)));
    });
    return mean(T, 1, (t) => Number(strongest[t] >= strongest[t - 1]));
}

/** As PyTorch rounds. */
function roundHalfToEven(x) {
    const below = Math.floor(x);
    return x - below === 0.5 ? below + (below % 2) : Math.round(x);
}

/** The texts [TEXTS, 2n] that induction is measured on: pseudo-random tokens, and the same again. */
export function inductionTexts({ V, context }) {
    const n = Math.min(MOST_RANDOM, context >> 1), first = Math.min(ORDINARY, V - 1);
    let state = 1; /* of a linear congruential generator: Numerical Recipes, 1992, section 7.1 */
    const draw = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    return Array.from({ length: TEXTS }, () => {
        const half = Array.from({ length: n }, () => first + Math.floor(draw() * (V - first)));
        return [...half, ...half];
    });
}

/** Of the weights [B, H, 2n, 2n] on such texts: the mean for each head. */
export function induction({ shape: [B, H, T], data }) {
    const n = T / 2, at = (b, h, t) => data[((b * H + h) * T + t) * T + t - n + 1];
    return Array.from({ length: H }, (_, h) => {
        let sum = 0;
        for (let b = 0; b < B; b++) for (let t = n; t < T; t++) sum += at(b, h, t);
        return sum / (B * n);
    });
}
