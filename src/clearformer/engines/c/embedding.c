/* Embeddings: a vector for each token, which positions, n-grams and segments add to.

   x = W[token] (sqrt(D)) + P[position] + W_2[hash(x_{t-1}, x_t)] + W_3[hash(x_{t-2}, x_{t-1}, x_t)] + W_s[segment]
   Vaswani et al. 2017, arXiv:1706.03762, sections 3.4 and 3.5; Pagnoni et al. 2024, arXiv:2412.09871 */

#include "transformer.h"

enum { NGRAM_BITS = 40 };

/* The bucket of a token and the `n` - 1 before it. */
static count bucket(const int64_t *tokens, int n, count buckets)
{
    const int64_t limit = (int64_t)1 << NGRAM_BITS;
    int64_t mixed = 1;
    for (int i = 0; i < n; i++)
        mixed = ((mixed ^ (tokens[i] + 1)) * 1000003) % limit;
    return (mixed ^ (mixed >> NGRAM_BITS / 2)) % buckets;
}

static void add(count n, float *x, const float *y)
{
#pragma omp simd
    for (count i = 0; i < n; i++)
        x[i] += y[i];
}

/* The token at position p of a row, 0 before its start. `now` are the row's tokens, the first at position `past`. */
static int64_t token_at(const int32_t *now, const int32_t *before, count past, count p)
{
    return p < 0 ? 0 : p < past ? before[p] : now[p - past];
}

/* x [B, T, D] */
void embed(const model *m, const batch *b, float *x)
{
    const config *c = &m->c;
    const float scale = c->scale_embeddings ? sqrtf((float)c->D) : 1.0f;
#pragma omp parallel for if (b->B * b->T * c->D > SERIAL)
    for (count i = 0; i < b->B * b->T; i++) {
        const count row = i / b->T, t = i % b->T, past = b->past ? b->past->lengths[row] : 0, p = past + t;
        const int32_t *now = b->tokens + row * b->T;
        float *out = x + i * c->D;
        for (count d = 0; d < c->D; d++)
            out[d] = m->embedding[now[t] * (count)c->D + d] * scale;
        if (c->positions == SINUSOIDAL)
            add(c->D, out, m->t.sinusoids + p * c->D);
        if (c->positions == LEARNED)
            add(c->D, out, m->positions + p * c->D);
        if (c->ngram_buckets) {
            const int32_t *before = b->past ? b->past->tokens + row * b->past->capacity : NULL;
            const int64_t tokens[] = {now[t], token_at(now, before, past, p - 1), token_at(now, before, past, p - 2)};
            add(c->D, out, m->pairs + bucket(tokens, 2, c->ngram_buckets) * c->D);
            add(c->D, out, m->triples + bucket(tokens, 3, c->ngram_buckets) * c->D);
        }
        if (m->segments && b->segments)
            add(c->D, out, m->segments + b->segments[i] * (count)c->D);
    }
}

/* The gradients of all tables, from g [B, T, D]: a thread has a range of columns, so that no two write to one number. */
void embed_backward(const model *m, const model *d, const batch *b, const float *g)
{
    const config *c = &m->c;
    const float scale = c->scale_embeddings ? sqrtf((float)c->D) : 1.0f;
    const count threads = omp_get_max_threads(), block = (c->D + threads - 1) / threads;
#pragma omp parallel for
    for (count k = 0; k < threads; k++) {
        const count first = least(k * block, c->D), some = least(block, c->D - first);
        for (count i = 0; i < b->B * b->T; i++) {
            const count row = i / b->T, t = i % b->T;
            const int32_t *now = b->tokens + row * b->T;
            const float *from = g + i * c->D + first;
            float *to = d->embedding + now[t] * (count)c->D + first;
            for (count j = 0; j < some; j++)
                to[j] += scale * from[j];
            if (c->positions == LEARNED)
                add(some, d->positions + t * c->D + first, from);
            if (c->ngram_buckets) {
                const int64_t tokens[] = {now[t], token_at(now, NULL, 0, t - 1), token_at(now, NULL, 0, t - 2)};
                add(some, d->pairs + bucket(tokens, 2, c->ngram_buckets) * c->D + first, from);
                add(some, d->triples + bucket(tokens, 3, c->ngram_buckets) * c->D + first, from);
            }
            if (d->segments && b->segments)
                add(some, d->segments + b->segments[i] * (count)c->D + first, from);
        }
    }
}
