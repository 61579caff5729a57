/* The four families: the same parts, put together four times.

   GPT          tokens -> logits of the next token of each           Radford et al. 2019
   BERT         tokens, some masked -> logits of the original ones   Devlin et al. 2018, arXiv:1810.04805
   Classifier   tokens -> one vector -> logits of the classes
   Transformer  source, target -> logits of the next target token    Vaswani et al. 2017, arXiv:1706.03762

   A body returns features [B, T, D], which stay until the room is used again. */

#include "transformer.h"

/* A GPT's features, an encoder-decoder's of the target, which `from` belongs to, or a classifier's on a GPT. With a
   cache, `from` must be in it. */
float *decoder_features(const model *m, const batch *b, const memory *from, room *r)
{
    stack_room *sr = &r->decoder;
    embed(m, b, sr->embedded);
    dropout(b->B * b->T, m->c.D, sr->embedded, r->dropout, seed_of(r->seed, -1));
    run_stack(m, &m->decoder, b, from, sr, r);
    if (b->past)
        advance_cache(b->past, b->tokens, b->T);
    return sr->out;
}

/* A BERT's features, an encoder-decoder's of the source, or a classifier's on a BERT. */
float *encoder_features(const model *m, const batch *b, room *r)
{
    stack_room *sr = &r->encoder;
    const count N = b->B * b->T;
    const int bert = m->c.family != FAMILY_TRANSFORMER;
    embed(m, b, bert ? sr->before : sr->embedded);
    if (bert)
        norm_rows(&m->c, N, m->c.D, sr->before, m->embedding_norm, sr->embedded, sr->norm_statistics);
    dropout(N, m->c.D, sr->embedded, r->dropout, seed_of(r->seed, -2));
    run_stack(m, &m->encoder, b, NULL, sr, r);
    return sr->out;
}

/* Logits [N, V] of features x [N, D], which are not kept; of a BERT through its transform first. */
void token_logits(const model *m, count N, float *x, float *logits, room *r)
{
    const config *c = &m->c;
    if (c->family == FAMILY_BERT) {
        linear(N, c->D, c->D, x, m->transform, r->y, r);
        activate(GELU, N, c->D, r->y, x);
        norm_rows(c, N, c->D, x, m->transform_norm, x, r->encoder.statistics);
    }
    linear(N, c->D, c->V, x, m->output, logits, r);
    cap_logits(c, N * c->V, logits);
}

/* z -> cap tanh(z / cap)      Gemma Team 2024, arXiv:2408.00118, "logit soft-capping" */
void cap_logits(const config *c, count n, float *logits)
{
    if (c->logit_cap == 0)
        return;
#pragma omp parallel for
    for (count i = 0; i < n; i++)
        logits[i] = tanhf(logits[i] / c->logit_cap) * c->logit_cap;
}

/* The share of token t in the vector of its row that is classified. */
static float share(const config *c, const uint8_t *real, count T, count t)
{
    count length = 0;
    for (count i = 0; i < T; i++)
        length += !real || real[i];
    if (c->pooling == POOL_MEAN)
        return !real || real[t] ? 1.0f / (float)length : 0;
    return t == (c->pooling == POOL_FIRST ? 0 : length ? length - 1 : T - 1);
}

/* The vectors [B, D] that are classified, of features x [B, T, D]; with `back`, from their gradients to those of x. */
void pool(const model *m, const batch *b, float *x, float *pooled, int back)
{
    const count D = m->c.D;
    for (count row = 0; row < b->B; row++) {
        const uint8_t *real = b->real ? b->real + row * b->T : NULL;
        float *vector = pooled + row * D;
        if (!back)
            memset(vector, 0, D * sizeof(float));
        for (count t = 0; t < b->T; t++) {
            const float part = share(&m->c, real, b->T, t);
            float *token = x + (row * b->T + t) * D;
            for (count d = 0; d < D; d++)
                *(back ? token + d : vector + d) = back ? part * vector[d] : vector[d] + part * token[d];
        }
    }
}

/* Logits [B, C] of features x [B, T, D]. */
void class_logits(const model *m, const batch *b, float *x, float *logits, room *r)
{
    pool(m, b, x, r->y, 0);
    linear(b->B, m->c.D, m->c.C, r->y, m->class_projection, logits, r);
}

/* The keys and values of an encoder's output for all layers, as a cache holds them. */
void remember(const model *m, count B, const memory *from, float *keys_values, room *r)
{
    const count width = 2 * m->c.G * (count)m->c.E * B * from->S;
    for (count index = 0; index < m->c.L; index++) {
        r->touches.first = first_place(m, &m->decoder, index);
        project_memory(m, &m->decoder.layers[index].cross, B, from, &r->decoder.layers[index].cross,
                       keys_values + index * width, r);
    }
}
