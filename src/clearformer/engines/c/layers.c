/* Layers and stacks: attention and feed-forward, each adding to the residual stream.

   post-norm: x -> Norm(x + Dropout(Sublayer(x)))     Vaswani et al. 2017, arXiv:1706.03762, section 5.4
   pre-norm:  x -> x + Dropout(Sublayer(Norm(x)))     Xiong et al. 2020, arXiv:2002.04745
   MultiHead(X, M) = Concat(head_1, …, head_H) W_O,  head_i = Attention(X W_Q_i, M W_K_i, M W_V_i)      3.2.2
   FFN(x) = f(x W_1 + b_1) W_2 + b_2                                                                    equation 2 */

#include "transformer.h"

enum { SELF, CROSS, FEED_FORWARD, WEIGHTS, SITES }; /* that drop, in each layer */

static uint32_t seed_at(const stack *s, count index, int site, const room *r)
{
    return seed_of(r->seed, (2 * index + s->causal) * SITES + site);
}

/* Heads `first` and after of vectors [B, T, width] that hold one head after the other. */
static heads split(float *x, count T, count width, count first, count E)
{
    return (heads){x + first * E, T * width, E, width};
}

/* Touch vectors x [B, T, width]. */
static void touch_vectors(const room *r, int what, const batch *b, float *x, count width)
{
    touch_place(&r->touches, what, b, split(x, b->T, width, 0, width), 1, width);
}

/* What a sub-layer reads: the residual stream itself or its norm. Touches change a copy of the stream. */
static const float *read_stream(const config *c, const batch *b, affine w, residual_room *rr, int what, room *r)
{
    const count N = b->B * b->T;
    float *x = c->post_norm ? r->y : rr->between;
    if (c->post_norm && !r->touches.number)
        return rr->in;
    if (c->post_norm)
        memcpy(x, rr->in, N * c->D * sizeof(float));
    else
        norm_rows(c, N, c->D, rr->in, w, x, rr->statistics);
    touch_vectors(r, what, b, x, c->D);
    return x;
}

/* The same again, for the backward pass. */
static const float *was_read(const config *c, const residual_room *rr)
{
    return c->post_norm ? rr->in : rr->between;
}

/* Add what it wrote to r->y; normalise the sum. */
static void write_stream(const config *c, count N, affine w, residual_room *rr, uint32_t seed, room *r)
{
    float *sum = c->post_norm ? rr->between : rr->out;
    dropout(N, c->D, r->y, r->dropout, seed);
#pragma omp parallel for simd if (parallel : N * c->D > SERIAL)
    for (count i = 0; i < N * c->D; i++)
        sum[i] = rr->in[i] + r->y[i];
    if (c->post_norm)
        norm_rows(c, N, c->D, sum, w, rr->out, rr->statistics);
}

/* From the gradient r->g of the stream behind a sub-layer to r->y, that of what the sub-layer wrote. */
static void write_backward(const config *c, count N, affine w, affine dw, const residual_room *rr, uint32_t seed,
                           room *r)
{
    if (c->post_norm)
        norm_rows_backward(c, N, c->D, r->g, rr->between, rr->statistics, w, dw, r->g, r);
    memcpy(r->y, r->g, N * c->D * sizeof(float));
    dropout(N, c->D, r->y, r->dropout, seed);
}

/* From the gradient r->dn of what a sub-layer read to that of the stream before it, in r->g. */
static void read_backward(const config *c, count N, affine w, affine dw, const residual_room *rr, room *r)
{
    if (!c->post_norm)
        norm_rows_backward(c, N, c->D, r->dn, rr->in, rr->statistics, w, dw, r->dn, r);
#pragma omp parallel for simd if (parallel : N * c->D > SERIAL)
    for (count i = 0; i < N * c->D; i++)
        r->g[i] += r->dn[i];
}

/* Norm each head's vector in place; `raw`, which may be NULL, keeps it as it was, `statistics` 2 numbers for each. */
static void head_norm(const config *c, count B, count T, heads x, count number, affine w, float *raw,
                      float *statistics)
{
    const count E = c->E;
#pragma omp parallel for collapse(2) if (B * T * number * E > SERIAL)
    for (count b = 0; b < B; b++)
        for (count t = 0; t < T; t++)
            for (count h = 0; h < number; h++) {
                float *one = x.at + b * x.batch + h * x.head + t * x.row, unused[2];
                const count at = (b * T + t) * number + h;
                float *mean = raw ? statistics + 2 * at : unused;
                if (raw)
                    memcpy(raw + at * E, one, E * sizeof(float));
                norm(1, one, one, mean, mean + 1, E, w.weight, w.bias, c->norm_epsilon,
                     c->norm_kind == LAYER_NORM);
            }
}

/* The gradient g of normed heads to that of the heads as they were, in place. */
static void head_norm_backward(const config *c, count B, count T, heads g, count number, affine w, affine dw,
                               const float *raw, const float *statistics, const room *r)
{
    const count E = c->E, N = B * T, threads = omp_get_max_threads(), block = (N + threads - 1) / threads;
#pragma omp parallel for
    for (count k = 0; k < threads; k++) {
        float *sums = r->threads + k * r->piece, *dweight = sums + 2 * E, *dbias = sums + 3 * E;
        memset(sums, 0, 2 * E * sizeof(float));
        for (count i = k * block; i < least((k + 1) * block, N); i++)
            for (count h = 0; h < number; h++) {
                float *one = g.at + i / T * g.batch + h * g.head + i % T * g.row;
                const count at = i * number + h;
                norm_backward(1, one, raw + at * E, statistics + 2 * at, statistics + 2 * at + 1, one, dweight, dbias,
                              E, w.weight, c->norm_kind == LAYER_NORM);
                for (count e = 0; e < 2 * E; e++)
                    sums[e] += dweight[e];
            }
    }
    for (count k = 0; k < threads; k++)
        for (count e = 0; e < E; e++) {
            dw.weight[e] += (r->threads + k * r->piece)[e];
            if (dw.bias)
                dw.bias[e] += (r->threads + k * r->piece)[E + e];
        }
}

static attention_task self_task(const model *m, const stack *s, const batch *b, count index, attention_room *ar,
                                const room *r)
{
    const config *c = &m->c;
    const count E = c->E, width = (c->H + 2 * c->G) * E;
    return (attention_task){
        .B = b->B, .H = c->H, .G = c->G, .T = b->T, .S = b->T, .E = E,
        .q = split(ar->qkv, b->T, width, 0, E), .k = split(ar->qkv, b->T, width, c->H, E),
        .v = split(ar->qkv, b->T, width, c->H + c->G, E), .out = split(ar->heads, b->T, c->H * E, 0, E),
        .weights = ar->weights,
        .dropout = c->family == FAMILY_TRANSFORMER ? 0 : r->dropout, .seed = seed_at(s, index, WEIGHTS, r),
        .past = b->past ? b->past->lengths : NULL,
        .real = c->causal_body ? NULL : b->real, /* padding on the right, which no token before it attends to */
        .slopes = m->t.slopes, .relative = s->relative,
        .buckets = m->t.buckets ? m->t.buckets + s->causal * (FURTHEST + 1) : NULL,
        .window = c->window, .causal = s->causal, .place = SELF_WEIGHTS, .touches = r->touches,
    };
}

static void self_attention(const model *m, const stack *s, const batch *b, count index, attention_room *ar, room *r)
{
    const config *c = &m->c;
    const attention_weights *w = &s->layers[index].self;
    const count N = b->B * b->T, E = c->E, width = (c->H + 2 * c->G) * E;
    linear(N, c->D, width, read_stream(c, b, w->norm, &ar->residual, SELF_INPUT, r), w->qkv, ar->qkv, r);
    attention_task task = self_task(m, s, b, index, ar, r);
    if (c->qk_norm) {
        const count queries = N * c->H;
        head_norm(c, b->B, b->T, task.q, c->H, w->query_norm, ar->raw, ar->raw_statistics);
        head_norm(c, b->B, b->T, task.k, c->G, w->key_norm, ar->raw ? ar->raw + queries * E : NULL,
                  ar->raw_statistics + 2 * queries);
    }
    if (c->positions == ROTARY) {
        rotate(&m->t, b->B, b->T, task.q, c->H, E, task.past, 0);
        rotate(&m->t, b->B, b->T, task.k, c->G, E, task.past, 0);
    }
    touch_place(&r->touches, SELF_QUERIES, b, task.q, c->H, E);
    touch_place(&r->touches, SELF_KEYS, b, task.k, c->G, E);
    touch_place(&r->touches, SELF_VALUES, b, task.v, c->G, E);
    if (b->past) {
        const count capacity = b->past->capacity, layer_size = b->B * c->G * capacity * E;
        write_cache(c, b->past, index, b->T, task.k, task.v);
        task.k = (heads){b->past->keys + index * layer_size, c->G * capacity * E, capacity * E, E};
        task.v = (heads){b->past->values + index * layer_size, c->G * capacity * E, capacity * E, E};
        task.S = capacity;
    }
    attend(&task, r);
    touch_place(&r->touches, SELF_CORE, b, task.out, c->H, E);
    linear(N, c->H * E, c->D, ar->heads, w->output, r->y, r);
    touch_vectors(r, SELF_OUTPUT, b, r->y, c->D);
    write_stream(c, N, w->norm, &ar->residual, seed_at(s, index, SELF, r), r);
    touch_vectors(r, SELF_RESIDUAL, b, ar->residual.out, c->D);
}

static void self_attention_backward(const model *m, const stack *s, const stack *ds, const batch *b, count index,
                                    attention_room *ar, room *r)
{
    const config *c = &m->c;
    const attention_weights *w = &s->layers[index].self, *dw = &ds->layers[index].self;
    const count N = b->B * b->T, E = c->E, width = (c->H + 2 * c->G) * E;
    write_backward(c, N, w->norm, dw->norm, &ar->residual, seed_at(s, index, SELF, r), r);
    linear_backward(N, c->H * E, c->D, r->y, ar->heads, w->output, dw->output, r->dheads, 0);
    const attention_task task = self_task(m, s, b, index, ar, r);
    const heads dq = split(r->dqkv, b->T, width, 0, E), dk = split(r->dqkv, b->T, width, c->H, E);
    attend_backward(&task, split(r->dheads, b->T, c->H * E, 0, E), dq, dk, split(r->dqkv, b->T, width, c->H + c->G, E),
                    ds->relative, r);
    if (c->positions == ROTARY) {
        rotate(&m->t, b->B, b->T, dq, c->H, E, NULL, 1);
        rotate(&m->t, b->B, b->T, dk, c->G, E, NULL, 1);
    }
    if (c->qk_norm) {
        const count queries = N * c->H;
        head_norm_backward(c, b->B, b->T, dq, c->H, w->query_norm, dw->query_norm, ar->raw, ar->raw_statistics, r);
        head_norm_backward(c, b->B, b->T, dk, c->G, w->key_norm, dw->key_norm, ar->raw + queries * E,
                           ar->raw_statistics + 2 * queries, r);
    }
    linear_backward(N, c->D, width, r->dqkv, was_read(c, &ar->residual), w->qkv, dw->qkv, r->dn, 0);
    read_backward(c, N, w->norm, dw->norm, &ar->residual, r);
}

static attention_task cross_task(const model *m, const batch *b, const memory *from, attention_room *ar, float *kv,
                                 const room *r)
{
    const config *c = &m->c;
    const count E = c->E, width = 2 * c->G * E;
    return (attention_task){
        .B = b->B, .H = c->H, .G = c->G, .T = b->T, .S = from->S, .E = E,
        .q = split(ar->qkv, b->T, c->H * E, 0, E), .k = split(kv, from->S, width, 0, E),
        .v = split(kv, from->S, width, c->G, E), .out = split(ar->heads, b->T, c->H * E, 0, E),
        .weights = ar->weights, .past = b->past ? b->past->lengths : NULL,
        .sources = b->past ? b->past->sources : NULL, .real = from->real, .place = CROSS_WEIGHTS, .touches = r->touches,
    };
}

/* Keys and values of the encoder's output, [B, S, 2 G E]. */
void project_memory(const model *m, const attention_weights *w, count B, const memory *from, attention_room *ar,
                    float *kv, const room *r)
{
    const config *c = &m->c;
    const count E = c->E, width = 2 * c->G * E;
    const batch source = {.B = B, .T = from->S};
    const heads k = split(kv, from->S, width, 0, E), v = split(kv, from->S, width, c->G, E);
    linear(B * from->S, c->D, width, from->at, w->kv, kv, r);
    if (c->qk_norm)
        head_norm(c, B, from->S, k, c->G, w->key_norm, ar->raw, ar->raw_statistics);
    touch_place(&r->touches, CROSS_KEYS, &source, k, c->G, E);
    touch_place(&r->touches, CROSS_VALUES, &source, v, c->G, E);
}

static void cross_attention(const model *m, const stack *s, const batch *b, count index, const memory *from,
                            attention_room *ar, room *r)
{
    const config *c = &m->c;
    const attention_weights *w = &s->layers[index].cross;
    const count N = b->B * b->T, E = c->E, width = 2 * c->G * E, keys = b->B * from->S * c->G;
    float *kv = b->past ? b->past->memory_keys_values + index * b->past->M * from->S * width : ar->kv;
    linear(N, c->D, c->H * E, read_stream(c, b, w->norm, &ar->residual, CROSS_INPUT, r), w->query, ar->qkv, r);
    if (!b->past)
        project_memory(m, w, b->B, from, ar, kv, r);
    const attention_task task = cross_task(m, b, from, ar, kv, r);
    if (c->qk_norm)
        head_norm(c, b->B, b->T, task.q, c->H, w->query_norm, ar->raw ? ar->raw + keys * E : NULL,
                  ar->raw_statistics + 2 * keys);
    touch_place(&r->touches, CROSS_QUERIES, b, task.q, c->H, E);
    attend(&task, r);
    touch_place(&r->touches, CROSS_CORE, b, task.out, c->H, E);
    linear(N, c->H * E, c->D, ar->heads, w->output, r->y, r);
    touch_vectors(r, CROSS_OUTPUT, b, r->y, c->D);
    write_stream(c, N, w->norm, &ar->residual, seed_at(s, index, CROSS, r), r);
    touch_vectors(r, CROSS_RESIDUAL, b, ar->residual.out, c->D);
}

static void cross_attention_backward(const model *m, const stack *s, const stack *ds, const batch *b, count index,
                                     const memory *from, attention_room *ar, room *r)
{
    const config *c = &m->c;
    const attention_weights *w = &s->layers[index].cross, *dw = &ds->layers[index].cross;
    const count N = b->B * b->T, E = c->E, width = 2 * c->G * E, keys = b->B * from->S * c->G;
    write_backward(c, N, w->norm, dw->norm, &ar->residual, seed_at(s, index, CROSS, r), r);
    linear_backward(N, c->H * E, c->D, r->y, ar->heads, w->output, dw->output, r->dheads, 0);
    const attention_task task = cross_task(m, b, from, ar, ar->kv, r);
    const heads dq = split(r->dqkv, b->T, c->H * E, 0, E), dk = split(r->dkv, from->S, width, 0, E);
    attend_backward(&task, split(r->dheads, b->T, c->H * E, 0, E), dq, dk, split(r->dkv, from->S, width, c->G, E), NULL,
                    r);
    if (c->qk_norm) {
        head_norm_backward(c, b->B, from->S, dk, c->G, w->key_norm, dw->key_norm, ar->raw, ar->raw_statistics, r);
        head_norm_backward(c, b->B, b->T, dq, c->H, w->query_norm, dw->query_norm, ar->raw + keys * E,
                           ar->raw_statistics + 2 * keys, r);
    }
    linear_backward(b->B * from->S, c->D, width, r->dkv, from->at, w->kv, dw->kv, r->dmemory, 1);
    linear_backward(N, c->D, c->H * E, r->dqkv, was_read(c, &ar->residual), w->query, dw->query, r->dn, 0);
    read_backward(c, N, w->norm, dw->norm, &ar->residual, r);
}

static void feed_forward(const config *c, const stack *s, const batch *b, count index, feed_forward_room *fr, room *r)
{
    const layer *l = s->layers + index;
    const count N = b->B * b->T, width = linear1_width(c);
    linear(N, c->D, width, read_stream(c, b, l->norm, &fr->residual, FEED_FORWARD_INPUT, r), l->linear1, fr->wide, r);
    touch_vectors(r, LINEAR1, b, fr->wide, width);
    activate(c->activation, N, c->F, fr->wide, fr->narrow);
    touch_vectors(r, LINEAR2_INPUT, b, fr->narrow, c->F);
    linear(N, c->F, c->D, fr->narrow, l->linear2, r->y, r);
    touch_vectors(r, FEED_FORWARD_OUTPUT, b, r->y, c->D);
    write_stream(c, N, l->norm, &fr->residual, seed_at(s, index, FEED_FORWARD, r), r);
    touch_vectors(r, FEED_FORWARD_RESIDUAL, b, fr->residual.out, c->D);
}

static void feed_forward_backward(const config *c, const stack *s, const stack *ds, count index, count N,
                                  feed_forward_room *fr, room *r)
{
    const layer *l = s->layers + index, *dl = ds->layers + index;
    const count width = linear1_width(c);
    write_backward(c, N, l->norm, dl->norm, &fr->residual, seed_at(s, index, FEED_FORWARD, r), r);
    linear_backward(N, c->F, c->D, r->y, fr->narrow, l->linear2, dl->linear2, r->dnarrow, 0);
    activate_backward(c->activation, N, c->F, r->dnarrow, fr->wide, r->dwide);
    linear_backward(N, c->D, width, r->dwide, was_read(c, &fr->residual), l->linear1, dl->linear1, r->dn, 0);
    read_backward(c, N, l->norm, dl->norm, &fr->residual, r);
}

/* sr->embedded [B, T, D] through all layers to sr->out. `from` is what a decoder's cross-attention reads, elsewhere
   NULL. */
void run_stack(const model *m, const stack *s, const batch *b, const memory *from, stack_room *sr, room *r)
{
    const count N = b->B * b->T;
    for (count index = 0; index < m->c.L; index++) {
        layer_room *lr = sr->layers + index;
        r->touches.first = first_place(m, s, index);
        if (index == 0)
            touch_vectors(r, STACK_INPUT, b, sr->embedded, m->c.D);
        self_attention(m, s, b, index, &lr->self, r);
        if (s->cross)
            cross_attention(m, s, b, index, from, &lr->cross, r);
        feed_forward(&m->c, s, b, index, &lr->feed_forward, r);
    }
    const float *last = sr->layers[m->c.L - 1].feed_forward.residual.out;
    if (m->c.post_norm)
        memcpy(sr->out, last, N * m->c.D * sizeof(float));
    else
        norm_rows(&m->c, N, m->c.D, last, s->norm, sr->out, sr->statistics);
    touch_vectors(r, STACK_OUTPUT, b, sr->out, m->c.D);
}

/* r->g is the gradient of sr->out, and becomes that of sr->embedded. */
void run_stack_backward(const model *m, const stack *s, const stack *ds, const batch *b, const memory *from,
                        stack_room *sr, room *r)
{
    const count N = b->B * b->T;
    if (!m->c.post_norm)
        norm_rows_backward(&m->c, N, m->c.D, r->g, sr->layers[m->c.L - 1].feed_forward.residual.out, sr->statistics,
                           s->norm, ds->norm, r->g, r);
    for (count index = m->c.L - 1; index >= 0; index--) {
        layer_room *lr = sr->layers + index;
        feed_forward_backward(&m->c, s, ds, index, N, &lr->feed_forward, r);
        if (s->cross)
            cross_attention_backward(m, s, ds, b, index, from, &lr->cross, r);
        self_attention_backward(m, s, ds, b, index, &lr->self, r);
    }
}
