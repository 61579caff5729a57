/* KV cache: keys and values of past tokens, so that a new token does not compute them again.

   k[0..p], v[0..p] do not depend on later tokens, as the mask is causal. Rows may have different lengths. */

#include "transformer.h"

/* Store the keys and values of T new tokens, [B, G, T, E], of layer `index`. */
void write_cache(const config *c, cache *past, count index, count T, heads k, heads v)
{
    const count E = c->E, G = c->G;
#pragma omp parallel for collapse(2) if (past->B * G * T * E > SERIAL)
    for (count b = 0; b < past->B; b++)
        for (count g = 0; g < G; g++)
            for (count t = 0; t < T; t++) {
                const count to = (((index * past->B + b) * G + g) * past->capacity + past->lengths[b] + t) * E;
                memcpy(past->keys + to, k.at + b * k.batch + g * k.head + t * k.row, E * sizeof(float));
                memcpy(past->values + to, v.at + b * v.batch + g * v.head + t * v.row, E * sizeof(float));
            }
}

/* All layers have written T tokens per row. */
void advance_cache(cache *past, const int32_t *tokens, count T)
{
    for (count b = 0; b < past->B; b++) {
        memcpy(past->tokens + b * past->capacity + past->lengths[b], tokens + b * T, T * sizeof(int32_t));
        past->lengths[b] += T;
    }
}

/* Row i of `to` becomes row rows[i] of `past`, for beam search; only slots in use are copied, and nothing of the sources. */
void reorder_cache(const config *c, const cache *past, const int32_t *rows, cache *to)
{
    const count E = c->E, G = c->G;
    for (count b = 0; b < to->B; b++) {
        to->lengths[b] = past->lengths[rows[b]];
        to->sources[b] = past->sources[rows[b]];
        memcpy(to->tokens + b * to->capacity, past->tokens + rows[b] * past->capacity,
               to->lengths[b] * sizeof(int32_t));
    }
#pragma omp parallel for collapse(2)
    for (count l = 0; l < c->L; l++)
        for (count b = 0; b < to->B; b++)
            for (count g = 0; g < G; g++) {
                const count old = ((l * past->B + rows[b]) * G + g) * past->capacity * E;
                const count new = ((l * to->B + b) * G + g) * to->capacity * E;
                memcpy(to->keys + new, past->keys + old, to->lengths[b] * E * sizeof(float));
                memcpy(to->values + new, past->values + old, to->lengths[b] * E * sizeof(float));
            }
}
