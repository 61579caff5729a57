/* The loss of a batch, and the gradient of every parameter: each family's forward pass and then the same backwards.

   Only tokens that are predicted reach the output projection, CHUNK at a time, so that no [B, T, V] is ever kept. */

#include "transformer.h"

enum { CHUNK = 256, IGNORE = -100 };

/* Room for what a chunk of predicted tokens, or of texts to classify, goes through. */
typedef struct {
    float *x, *transformed, *slope, *normed, *statistics, *logits, *dlogits, *dx, *losses;
    int64_t *targets;
    count *places;
} chunk;

static count divide_chunk(const config *c, float *at, chunk *k)
{
    const count D = c->D, width = c->family == FAMILY_CLASSIFIER ? c->C : c->V;
    struct {
        float **to;
        count size;
    } parts[] = {
        {&k->x, D}, {&k->transformed, D}, {&k->slope, D}, {&k->normed, D}, {&k->statistics, 2},
        {&k->logits, width}, {&k->dlogits, width}, {&k->dx, D}, {&k->losses, 1},
    };
    count used = 0;
    for (count i = 0; i < (count)(sizeof parts / sizeof *parts); i++) {
        *parts[i].to = at + used;
        used += parts[i].size * CHUNK;
    }
    k->targets = (int64_t *)(at + used);
    k->places = (count *)(at + used + 2 * CHUNK);
    return used + 4 * CHUNK;
}

/* Numbers of it. */
count chunk_size(const config *c)
{
    float none;
    chunk k;
    return divide_chunk(c, &none, &k);
}

/* The summed loss of n rows of k->x and, unless `d` is NULL, gradients scaled by o->scale, of k->x in k->dx. */
static double head(const model *m, const model *d, const objective *o, count n, chunk *k, room *r)
{
    const config *c = &m->c;
    const int bert = c->family == FAMILY_BERT, classifier = c->family == FAMILY_CLASSIFIER;
    const count D = c->D, width = classifier ? c->C : c->V;
    const affine w = classifier ? m->class_projection : m->output;
    const float *read = bert ? k->normed : k->x;
    if (bert) {
        linear(n, D, D, k->x, m->transform, k->slope, r);
        activate(GELU, n, D, k->slope, k->transformed);
        norm_rows(c, n, D, k->transformed, m->transform_norm, k->normed, k->statistics);
    }
    linear(n, D, width, read, w, k->logits, r);
    if (!classifier)
        cap_logits(c, n * width, k->logits);
#pragma omp parallel for
    for (count i = 0; i < n; i++)
        cross_entropy(1, k->logits + i * width, k->targets + i, k->losses + i, k->dlogits + i * width, width,
                      o->smoothing, IGNORE);
    double loss = 0;
    for (count i = 0; i < n; i++)
        loss += k->losses[i];
    if (!d)
        return loss;
    const float cap = classifier ? 0 : c->logit_cap;
#pragma omp parallel for
    for (count i = 0; i < n * width; i++) {
        const float along = cap == 0 ? 0 : k->logits[i] / cap;
        k->dlogits[i] *= o->scale * (1.0f - along * along);
    }
    linear_backward(n, D, width, k->dlogits, read, w, classifier ? d->class_projection : d->output, k->dx, 0);
    if (bert) {
        norm_rows_backward(c, n, D, k->dx, k->transformed, k->statistics, m->transform_norm, d->transform_norm, k->dx,
                           r);
        activate_backward(GELU, n, D, k->dx, k->slope, k->normed);
        linear_backward(n, D, D, k->normed, k->x, m->transform, d->transform, k->dx, 0);
    }
    return loss;
}

/* The summed loss of N rows of features with targets [N] and, unless `d` is NULL, the gradient g [N, D] of them. */
static double heads_of(const model *m, const model *d, const objective *o, count N, const float *features, float *g,
                       room *r)
{
    const count D = m->c.D;
    const float p = m->c.family == FAMILY_CLASSIFIER ? r->dropout : 0;
    double loss = 0;
    chunk k;
    divide_chunk(&m->c, r->chunk, &k);
    if (d)
        memset(g, 0, N * D * sizeof(float));
    for (count next = 0; next < N;) {
        count n = 0;
        const uint32_t seed = seed_of(seed_of(r->seed, -3), next);
        for (; next < N && n < CHUNK; next++)
            if (o->targets[next] != IGNORE) {
                memcpy(k.x + n * D, features + next * D, D * sizeof(float));
                k.targets[n] = o->targets[next];
                k.places[n++] = next;
            }
        dropout(n, D, k.x, p, seed);
        loss += head(m, d, o, n, &k, r);
        if (!d)
            continue;
        dropout(n, D, k.dx, p, seed);
        for (count i = 0; i < n; i++)
            memcpy(g + k.places[i] * D, k.dx + i * D, D * sizeof(float));
    }
    return loss;
}

static void decoder_backward(const model *m, const model *d, const batch *b, const memory *from, room *r)
{
    run_stack_backward(m, &m->decoder, &d->decoder, b, from, &r->decoder, r);
    dropout(b->B * b->T, m->c.D, r->g, r->dropout, seed_of(r->seed, -1));
    embed_backward(m, d, b, r->g);
}

static void encoder_backward(const model *m, const model *d, const batch *b, room *r)
{
    const count N = b->B * b->T;
    const stack_room *sr = &r->encoder;
    run_stack_backward(m, &m->encoder, &d->encoder, b, NULL, &r->encoder, r);
    dropout(N, m->c.D, r->g, r->dropout, seed_of(r->seed, -2));
    if (m->c.family != FAMILY_TRANSFORMER)
        norm_rows_backward(&m->c, N, m->c.D, r->g, sr->before, sr->norm_statistics, m->embedding_norm,
                           d->embedding_norm, r->g, r);
    embed_backward(m, d, b, r->g);
}

/* The summed loss of a batch, of an encoder-decoder's targets and their `source`, which is NULL elsewhere. Unless `d` is
   NULL, o->scale times the gradients is added to those that it points to. */
double loss_of(const model *m, const model *d, const batch *b, const batch *source, const objective *o, room *r)
{
    const config *c = &m->c;
    const count N = b->B * b->T;
    memory from = {0};
    if (source) {
        from = (memory){source->T, encoder_features(m, source, r), source->real};
        if (d)
            memset(r->dmemory, 0, source->B * source->T * c->D * sizeof(float));
    }
    const int encoder = !has_decoder(c);
    float *features = encoder ? encoder_features(m, b, r) : decoder_features(m, b, &from, r);
    double loss;
    if (c->family == FAMILY_CLASSIFIER && !o->token_loss) {
        float *pooled = r->chunk + chunk_size(c), *g = pooled + b->B * c->D;
        pool(m, b, features, pooled, 0);
        loss = heads_of(m, d, o, b->B, pooled, g, r);
        if (d)
            pool(m, b, r->g, g, 1);
    } else {
        loss = heads_of(m, d, o, N, features, r->g, r);
    }
    if (!d)
        return loss;
    if (encoder)
        encoder_backward(m, d, b, r);
    else
        decoder_backward(m, d, b, &from, r);
    if (source) {
        memcpy(r->g, r->dmemory, source->B * source->T * c->D * sizeof(float));
        encoder_backward(m, d, source, r);
    }
    return loss;
}

/* Dropout with probability p in all that follows in this room; 0 without training. */
void set_dropout(room *r, float p, uint32_t seed)
{
    r->dropout = p;
    r->seed = seed;
}
