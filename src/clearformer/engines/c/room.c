/* The room that passes need, divided out of one piece of memory whose size is known before anything runs. */

#include "transformer.h"

#ifdef __SANITIZE_ADDRESS__ /* a compiler's check of addresses: between two parts lies a gap that must not be touched */
#include <sanitizer/asan_interface.h>
enum { GAP = 64 };
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)0)
enum { GAP = 0 };
#endif

/* Memory that is given out from the front; with `at` NULL it only counts. */
typedef struct {
    char *at;
    count used;
} arena;

static void *take(arena *a, count bytes)
{
    char *found = a->at ? a->at + a->used : NULL;
    const count whole = (bytes + 63) / 64 * 64 + GAP;
    if (found) {
        ASAN_UNPOISON_MEMORY_REGION(found, bytes);
        ASAN_POISON_MEMORY_REGION(found + bytes, whole - bytes);
    }
    a->used += whole;
    return found;
}

static float *take_floats(arena *a, count numbers)
{
    return take(a, numbers * (count)sizeof(float));
}

/* `x` is what the sub-layer reads, and without training also what it writes. Returns what it writes. */
static float *residual(const config *c, arena *a, residual_room *rr, count N, float *x, int training)
{
    rr->in = x;
    rr->out = training ? take_floats(a, N * c->D) : x;
    rr->between = c->post_norm && !training ? x : take_floats(a, N * c->D);
    rr->statistics = take_floats(a, 2 * N);
    return rr->out;
}

static float *attention(const config *c, arena *a, attention_room *ar, count B, count T, count S, int cross, float *x,
                        int training)
{
    const count N = B * T, E = c->E, keys = (cross ? B * S : N) * c->G, queries = N * c->H;
    float *out = residual(c, a, &ar->residual, N, x, training);
    ar->qkv = take_floats(a, N * (cross ? c->H : c->H + 2 * c->G) * E);
    ar->kv = take_floats(a, cross ? B * S * 2 * c->G * E : 0);
    ar->raw = training && c->qk_norm ? take_floats(a, (queries + keys) * E) : NULL;
    ar->raw_statistics = take_floats(a, c->qk_norm ? 2 * (queries + keys) : 0);
    ar->weights = training ? take_floats(a, B * c->H * T * whole_vectors(cross ? S : T)) : NULL;
    ar->heads = take_floats(a, queries * E);
    return out;
}

/* Of B rows of T tokens; S is the length of what cross-attention reads. */
static void divide_stack(const config *c, arena *a, stack_room *sr, const stack *s, count B, count T, count S,
                         int training)
{
    const count N = B * T;
    layer_room unused;
    sr->layers = take(a, c->L * (count)sizeof(layer_room));
    sr->before = take_floats(a, N * c->D);
    sr->norm_statistics = take_floats(a, 2 * N);
    sr->embedded = take_floats(a, N * c->D);
    sr->statistics = take_floats(a, 2 * N);
    sr->out = take_floats(a, N * c->D);
    float *x = sr->embedded;
    const count start = a->used;
    for (count index = 0; index < c->L; index++) {
        layer_room *lr = a->at ? sr->layers + index : &unused;
        if (!training)
            a->used = start; /* all layers use the same */
        x = attention(c, a, &lr->self, B, T, T, 0, x, training);
        if (s->cross)
            x = attention(c, a, &lr->cross, B, T, S, 1, x, training);
        x = residual(c, a, &lr->feed_forward.residual, N, x, training);
        lr->feed_forward.wide = take_floats(a, N * linear1_width(c));
        lr->feed_forward.narrow = take_floats(a, N * c->F);
    }
}

int num_threads(void)
{
    return omp_get_max_threads();
}

/* Room for B rows of T tokens, and of S of an encoder-decoder's source, in the memory at `at`; with `at` NULL the bytes
   that it takes. `keys`: tokens that the cache can hold, or 0. */
count make_room(const model *m, count B, count T, count S, count keys, int purpose, char *at, room **result)
{
    const int training = purpose == TRAINING;
    const config *c = &m->c;
    arena a = {at, 0};
    room unused, *r = take(&a, sizeof(room));
    r = at ? r : &unused;
    *r = (room){0};
    const int both = c->family == FAMILY_TRANSFORMER;
    const count longest = larger(T, S), rows = B * longest, E = c->E;
    const count widest = larger(c->H * E, larger(c->F, c->D)); /* of what linear layers read */
    if (both || !has_decoder(c))
        divide_stack(c, &a, &r->encoder, &m->encoder, B, both ? S : T, 0, training);
    if (has_decoder(c))
        divide_stack(c, &a, &r->decoder, &m->decoder, B, T, S, training);
    r->piece = larger(linear_piece(widest), attention_piece(longest, larger(keys, longest), E, training));
    r->piece = larger(r->piece, 2 * larger(c->D, 2 * E));
    r->y = take_floats(&a, rows * c->D);
    r->threads = take_floats(&a, r->piece * omp_get_max_threads());
    r->shared = take_floats(&a, linear_shared(widest));
    if (training) {
        r->g = take_floats(&a, rows * c->D);
        r->dn = take_floats(&a, rows * c->D);
        r->dheads = take_floats(&a, rows * c->H * E);
        r->dqkv = take_floats(&a, rows * (c->H + 2 * c->G) * E);
        r->dkv = take_floats(&a, B * S * 2 * c->G * E);
        r->dwide = take_floats(&a, rows * linear1_width(c));
        r->dnarrow = take_floats(&a, rows * c->F);
        r->dmemory = take_floats(&a, B * S * c->D);
        r->dbuckets = take_floats(&a, c->positions == RELATIVE ? omp_get_max_threads() * BUCKETS * c->H : 0);
    }
    if (purpose != INFERENCE) /* and for a classifier's texts, with their gradients */
        r->chunk = take_floats(&a, chunk_size(c) + 2 * B * c->D);
    if (result)
        *result = r;
    return a.used;
}
