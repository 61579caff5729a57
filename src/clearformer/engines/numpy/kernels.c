/* What the rules of the NumPy engine spend most of their time on, each in one pass, for float32 without gaps.

   The formulas are those of `activations.py`, `norms.py`, `attention.py`, `fused.py` and `optimizer.py`. */

#include <stdlib.h>

#include "../c/tiles.h"

/* The first `seen` scores of a row to weights, and zeros behind them; a row of -inf becomes zeros. */
static void softmax(count seen, count width, float *z)
{
    for (count s = seen; s < width; s++)
        z[s] = -INFINITY;
    const float most = largest(width, z);
    const float total = exponentials(width, z, most, z);
    const float scale = 1.0f / (total == 0 ? 1 : total);
#pragma omp simd
    for (count s = 0; s < width; s++)
        z[s] *= scale;
}

static void drop(count n, float *p, const uint8_t *left, float factor)
{
#pragma omp simd
    for (count i = 0; i < n; i++)
        p[i] = left[i] ? p[i] * factor : 0;
}

/* What attention.py has of these names; of the B * G groups of heads that share keys, `first` to `last` are to be done.
   `left` is NULL without dropout, `factor` what it multiplies by. */
typedef struct {
    count first, last, H, G, T, S, E;
    int causal;
    float factor;
    const uint8_t *left;
} task;

/* [B, H, T, E], or scores [B, H, T, S]; the last axis has no gaps, and along one that is shared the step is 0 */
typedef struct {
    float *at;
    count batch, head, row;
} heads;

static inline matrix of_head(heads x, count batch, count head)
{
    return (matrix){x.at + batch * x.batch + head * x.head, x.row, 1};
}

/* The keys that the query before `end` sees: the last query stands at the last place. */
static inline count seen_before(count end, task n)
{
    return n.causal ? n.S - n.T + end : n.S;
}

/* Scores are made of a few queries at a time, in `z`, and only with the keys that the last of them sees. */
static void head_forward(task n, matrix q, matrix keys, matrix v, matrix added, matrix out, matrix weights, matrix z)
{
    for (count t = 0; t < n.T; t += STRIP) {
        const count some = least(STRIP, n.T - t), seen = seen_before(t + some, n);
        product(some, whole_vectors(seen), n.E, from(q, t, 0), keys, z, 1.0f / sqrtf(n.E), 0);
        for (count i = 0; i < some; i++) {
            float *row = from(z, i, 0).at, *kept = from(weights, t + i, 0).at;
            for (count s = 0; added.at && s < seen; s++)
                row[s] += from(added, t + i, s).at[0];
            softmax(seen_before(t + i + 1, n), whole_vectors(seen), row);
            memcpy(kept, row, seen * sizeof(float));
            memset(kept + seen, 0, (n.S - seen) * sizeof(float));
            if (n.left)
                drop(seen, row, n.left + (t + i) * n.S, n.factor);
        }
        product(some, n.E, seen, z, v, from(out, t, 0), 1, 0);
    }
}

/* `dz` holds the gradient of all scores of the head, `used` the weights that dropout left. */
static void head_backward(task n, matrix q, matrix k, matrix values, matrix out, matrix weights, matrix g, matrix dq,
                          matrix dk, matrix dv, matrix dz, matrix used, int add)
{
    const float scale = 1.0f / sqrtf(n.E);
    for (count t = 0; t < n.T; t += STRIP) {
        const count some = least(STRIP, n.T - t), seen = seen_before(t + some, n);
        product(some, whole_vectors(seen), n.E, from(g, t, 0), values, from(dz, t, 0), 1, 0);
        for (count i = t; i < t + some; i++) {
            const float *p = from(weights, i, 0).at, *gs = from(g, i, 0).at, *outs = from(out, i, 0).at;
            float *row = from(dz, i, 0).at, along = 0;
            if (n.left) {
                memcpy(from(used, i, 0).at, p, n.S * sizeof(float));
                drop(n.S, from(used, i, 0).at, n.left + i * n.S, n.factor);
                drop(seen, row, n.left + i * n.S, n.factor);
            }
#pragma omp simd reduction(+ : along)
            for (count e = 0; e < n.E; e++)
                along += gs[e] * outs[e];
#pragma omp simd
            for (count s = 0; s < seen; s++)
                row[s] = (row[s] - along) * p[s];
            memset(row + seen, 0, (n.S - seen) * sizeof(float));
        }
        product(some, n.E, seen, from(dz, t, 0), k, from(dq, t, 0), scale, 0);
    }
    for (count s = 0; s < n.S; s += STRIP) {
        const count some = least(STRIP, n.S - s), place = s - (n.S - n.T);
        const count t = n.causal && place > 0 ? place : 0; /* the first query that sees one of them */
        product(some, n.E, n.T - t, transposed(from(used, t, s)), from(g, t, 0), from(dv, s, 0), 1, add);
        product(some, n.E, n.T - t, transposed(from(dz, t, s)), from(q, t, 0), from(dk, s, 0), scale, add);
    }
}

/* Both return whether there was memory for it. */
int attention(task n, heads q, heads k, heads v, heads added, heads out, heads weights)
{
    const count wide = whole_vectors(n.S), shared = n.H / n.G;
    float *room = malloc((n.E + STRIP) * wide * sizeof(float));
    const matrix keys = {room, wide, 1}, z = {room + n.E * wide, wide, 1};
    const uint8_t *left = n.left;
    for (count pair = n.first; room && pair < n.last; pair++) {
        const count b = pair / n.G, group = pair % n.G;
        transpose(n.S, n.E, of_head(k, b, group), keys);
        for (count h = group * shared; h < (group + 1) * shared; h++) {
            n.left = left ? left + (b * n.H + h) * n.T * n.S : NULL;
            head_forward(n, of_head(q, b, h), keys, of_head(v, b, group), of_head(added, b, h), of_head(out, b, h),
                         of_head(weights, b, h), z);
        }
    }
    free(room);
    return room != NULL;
}

int attention_backward(task n, heads q, heads k, heads v, heads out, heads weights, heads g, heads dq, heads dk,
                       heads dv)
{
    const count wide = whole_vectors(n.S), shared = n.H / n.G;
    float *room = malloc((n.E + 2 * n.T) * wide * sizeof(float));
    const matrix values = {room, wide, 1}, dz = from(values, n.E, 0);
    const uint8_t *left = n.left;
    for (count pair = n.first; room && pair < n.last; pair++) {
        const count b = pair / n.G, group = pair % n.G;
        transpose(n.S, n.E, of_head(v, b, group), values);
        for (count h = group * shared; h < (group + 1) * shared; h++) {
            const matrix own = of_head(weights, b, h);
            n.left = left ? left + (b * n.H + h) * n.T * n.S : NULL;
            head_backward(n, of_head(q, b, h), of_head(k, b, group), values, of_head(out, b, h), own, of_head(g, b, h),
                          of_head(dq, b, h), of_head(dk, b, group), of_head(dv, b, group), dz,
                          left ? from(dz, n.T, 0) : own, h > group * shared);
        }
    }
    free(room);
    return room != NULL;
}
