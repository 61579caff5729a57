/* Attention: every query takes a weighted mean of the values.

   P = softmax(Q Kᵀ / sqrt(E) + bias), zero where a query may not attend      O = P V
   Vaswani et al. 2017, arXiv:1706.03762, equation 1; ALiBi's bias is -m_h |t - s|, arXiv:2108.12409;
   that of relative positions is W[bucket(s - t), h], W learned, arXiv:1910.10683

   Backwards, from g = dL/dO, with dP = g Vᵀ: dZ = P * (dP - Σ_e g O), as Σ_s p_s g·v_s = g·o, and
   dV = Pᵀ g      dQ = dZ K / sqrt(E)      dK = dZᵀ Q / sqrt(E)      dW[b, h] = Σ dZ of all scores in bucket b
   With dropout, P in O and dV and dP in dZ are multiplied by M / (1 - p), M being which weights stay.

   H / G heads share keys and values. A query that may attend to nothing yields zeros. */

#include "transformer.h"

/* Numbers that a thread needs: transposed keys or values, and the scores of a strip of queries; in training their
   gradients, and the weights that dropout leaves, of all queries. */
count attention_piece(count T, count S, count E, int training)
{
    return (E + (training ? 2 * T : STRIP)) * whole_vectors(S);
}

/* Rotary positions: (x_i, x_{i + E/2}) is turned by the angle p base^(-2i/E), or back.     Su et al. 2021,
   arXiv:2104.09864 */
void rotate(const tables *t, count B, count T, heads x, count number, count E, const int32_t *past, int back)
{
#pragma omp parallel for collapse(2) if (B * T * number * E > SERIAL)
    for (count b = 0; b < B; b++)
        for (count at = 0; at < T; at++) {
            const count p = (past ? past[b] : 0) + at;
            const float *cosine = t->cosines + p * (E / 2), *sine = t->sines + p * (E / 2);
            for (count h = 0; h < number; h++) {
                float *one = x.at + b * x.batch + h * x.head + at * x.row, *other = one + E / 2;
                for (count i = 0; i < E / 2; i++) {
                    const float a = one[i], turn = back ? -sine[i] : sine[i];
                    one[i] = a * cosine[i] - other[i] * turn;
                    other[i] = other[i] * cosine[i] + a * turn;
                }
            }
        }
}

/* Keys `first` to `end` - 1 are near enough to the query at position p and, if causal, not after it. */
static count first_key(const attention_task *task, count p)
{
    return task->window && p >= task->window ? p - task->window + 1 : 0;
}

static count end_of_keys(const attention_task *task, count p)
{
    count end = task->causal ? p + 1 : task->S;
    return task->window ? least(end, p + task->window) : end;
}

/* The row of keys and values that row b of queries attends to. */
static count source_of(const attention_task *task, count b)
{
    return task->sources ? task->sources[b] : b;
}

/* Of the key at s for the query at p; later keys, which only an encoder attends to, have buckets of their own. */
static count bucket_of(const attention_task *task, count p, count s)
{
    return task->buckets[least(s < p ? p - s : s - p, FURTHEST)] + (s > p ? BUCKETS / 2 : 0);
}

/* Scores to weights, in place: z[s] for keys `first` to `end` - 1 of the query at position p; 0 for padding. */
static void softmax_row(const attention_task *task, count b, count h, count p, count first, count end, float *z)
{
    const uint8_t *real = task->real ? task->real + source_of(task, b) * task->S : NULL;
    if (task->slopes)
        for (count s = first; s < end; s++)
            z[s] -= task->slopes[h] * (float)(s < p ? p - s : s - p);
    if (task->relative)
        for (count s = first; s < end; s++)
            z[s] += task->relative[bucket_of(task, p, s) * task->H + h];
    for (count s = first; real && s < end; s++)
        z[s] = real[s] ? z[s] : -INFINITY;
    const float most = largest(end - first, z + first), total = exponentials(end - first, z + first, most, z + first);
    const float scale = total == 0 ? 0 : 1.0f / total;
#pragma omp simd
    for (count s = first; s < end; s++)
        z[s] *= scale;
}

/* The same, and what touches do to it. */
static void weights_row(const attention_task *task, count b, count h, count p, count first, count end, float *z)
{
    const touches *all = &task->touches;
    softmax_row(task, b, h, p, first, end, z);
    for (count k = 0; k < all->number; k++)
        if (all->at[k].place == all->first + task->place)
            touch_row(all->at + k, b, h, p, z, first, end);
}

static matrix of_head(heads x, count b, count h)
{
    return (matrix){x.at + b * x.batch + h * x.head, x.row, 1};
}

/* One query at a time, with the keys where they lie. */
static void attend_few(const attention_task *task, count b, count h, count start, matrix k, matrix v, float *z)
{
    const matrix q = of_head(task->q, b, h), out = of_head(task->out, b, h);
    for (count t = 0; t < task->T; t++) {
        const count p = start + t, first = first_key(task, p), end = end_of_keys(task, p);
        float *o = from(out, t, 0).at;
        inner_products(1, end - first, task->E, from(q, t, 0), from(k, first, 0), (matrix){z + first, 0, 1},
                       1.0f / sqrtf((float)task->E));
        weights_row(task, b, h, p, first, end, z);
        memset(o, 0, task->E * sizeof(float));
        for (count s = first; s < end; s++)
#pragma omp simd
            for (count e = 0; e < task->E; e++)
                o[e] += z[s] * v.at[s * v.row + e];
    }
}

/* Where a head's weights are kept: rows of whole vectors. */
static matrix kept(const attention_task *task, count b, count h)
{
    const count wide = whole_vectors(task->S);
    return (matrix){task->weights + (b * task->H + h) * task->T * wide, wide, 1};
}

/* The weights of query t that dropout leaves, scaled; in place or not. */
static void drop(const attention_task *task, count b, count h, count t, const float *from, float *to)
{
    const float scale = 1.0f / (1.0f - task->dropout);
    const count row = (b * task->H + h) * task->T + t;
    for (count s = 0; s < task->S; s++)
        to[s] = dropped(task->seed, row, s, task->dropout) ? 0 : from[s] * scale;
}

/* A strip of queries at a time, with transposed keys [E, S]; `z` has room for a strip's scores. */
static void attend_many(const attention_task *task, count b, count h, count start, matrix keys, matrix v, matrix z)
{
    const matrix q = of_head(task->q, b, h), out = of_head(task->out, b, h);
    for (count t = 0; t < task->T; t += STRIP) {
        const count some = least(STRIP, task->T - t), p = start + t;
        const count low = first_key(task, p) / LANES * LANES, high = end_of_keys(task, p + some - 1);
        const matrix weights = task->weights ? from(kept(task, b, h), t, 0) : z;
        product(some, whole_vectors(high - low), task->E, from(q, t, 0), from(keys, 0, low), from(weights, 0, low),
                1.0f / sqrtf((float)task->E), 0);
        for (count i = 0; i < some; i++) {
            const count first = first_key(task, p + i), end = end_of_keys(task, p + i);
            float *row = from(weights, i, 0).at;
            weights_row(task, b, h, p + i, first, end, row);
            memset(row, 0, first * sizeof(float));
            memset(row + end, 0, (task->weights ? weights.row - end : high - end) * sizeof(float));
            if (task->dropout != 0)
                drop(task, b, h, t + i, row, from(z, i, 0).at);
        }
        product(some, task->E, high - low, from(task->dropout != 0 ? z : weights, 0, low), from(v, low, 0),
                from(out, t, 0), 1, 0);
    }
}

void attend(const attention_task *task, const room *r)
{
    const count shared = task->H / task->G, wide = whole_vectors(task->S);
    const int many = task->T >= DOTS || task->weights;
#pragma omp parallel for if (task->B * task->H * task->T * task->S * task->E > SERIAL)
    for (count pair = 0; pair < task->B * task->G; pair++) {
        const count b = pair / task->G, g = pair % task->G, start = task->past ? task->past[b] : 0;
        float *piece = r->threads + omp_get_thread_num() * r->piece;
        const count source = source_of(task, b);
        const matrix k = of_head(task->k, source, g), v = of_head(task->v, source, g), keys = {piece, wide, 1};
        if (many)
            transpose(task->causal ? start + task->T : task->S, task->E, k, keys);
        for (count h = g * shared; h < (g + 1) * shared; h++) {
            if (many)
                attend_many(task, b, h, start, keys, v, (matrix){piece + task->E * wide, wide, 1});
            else
                attend_few(task, b, h, start, k, v, piece);
        }
    }
}

/* `dz` has room for the gradient of all scores of the head, `used` for the weights that dropout leaves; `dbuckets`, which
   may be NULL, is that of the table of relative positions, to which the head's is added. */
static void head_backward(const attention_task *task, count b, count h, matrix g, matrix k, matrix values, matrix dq,
                          matrix dk, matrix dv, matrix dz, matrix used, float *dbuckets, int add)
{
    const count T = task->T, S = task->S, E = task->E;
    const float scale = 1.0f / sqrtf((float)E), factor = 1.0f / (1.0f - task->dropout);
    const matrix q = of_head(task->q, b, h), out = of_head(task->out, b, h), weights = kept(task, b, h);
    for (count t = 0; t < T; t += STRIP) {
        const count some = least(STRIP, T - t), high = end_of_keys(task, t + some - 1);
        product(some, whole_vectors(high), E, from(g, t, 0), values, from(dz, t, 0), 1, 0);
        for (count i = t; i < t + some; i++) {
            const float *p = from(weights, i, 0).at, *gs = from(g, i, 0).at, *outs = from(out, i, 0).at;
            float *row = from(dz, i, 0).at, along = 0;
            if (task->dropout != 0) {
                drop(task, b, h, i, p, from(used, i, 0).at);
                for (count s = 0; s < high; s++)
                    row[s] = dropped(task->seed, (b * task->H + h) * T + i, s, task->dropout) ? 0 : row[s] * factor;
            }
#pragma omp simd reduction(+ : along)
            for (count e = 0; e < E; e++)
                along += gs[e] * outs[e];
#pragma omp simd
            for (count s = 0; s < high; s++)
                row[s] = (row[s] - along) * p[s];
            memset(row + high, 0, (S - high) * sizeof(float));
            for (count s = first_key(task, i); dbuckets && s < end_of_keys(task, i); s++)
                dbuckets[bucket_of(task, i, s) * task->H + h] += row[s];
        }
        product(some, E, high, from(dz, t, 0), k, from(dq, t, 0), scale, 0);
    }
    for (count s = 0; s < S; s += STRIP) {
        const count some = least(STRIP, S - s), t = task->causal ? s : 0; /* the first query that sees one of them */
        product(some, E, T - t, transposed(from(used, t, s)), from(g, t, 0), from(dv, s, 0), 1, add);
        product(some, E, T - t, transposed(from(dz, t, s)), from(q, t, 0), from(dk, s, 0), scale, add);
    }
}

/* The gradient of the table of relative positions is added to `drelative`, unless that is NULL. */
void attend_backward(const attention_task *task, heads g, heads dq, heads dk, heads dv, float *drelative, const room *r)
{
    const count shared = task->H / task->G, wide = whole_vectors(task->S), table = BUCKETS * task->H;
    const count threads = drelative ? omp_get_max_threads() : 0;
    memset(r->dbuckets, 0, threads * table * sizeof(float));
#pragma omp parallel for
    for (count pair = 0; pair < task->B * task->G; pair++) {
        const count b = pair / task->G, group = pair % task->G;
        const matrix values = {r->threads + omp_get_thread_num() * r->piece, wide, 1}, dz = from(values, task->E, 0);
        transpose(task->S, task->E, of_head(task->v, b, group), values);
        for (count h = group * shared; h < (group + 1) * shared; h++)
            head_backward(task, b, h, of_head(g, b, h), of_head(task->k, b, group), values, of_head(dq, b, h),
                          of_head(dk, b, group), of_head(dv, b, group), dz,
                          task->dropout != 0 ? from(dz, task->T, 0) : kept(task, b, h),
                          drelative ? r->dbuckets + omp_get_thread_num() * table : NULL, h > group * shared);
    }
    for (count i = 0; i < threads * table; i++)
        drelative[i % table] += r->dbuckets[i];
}
