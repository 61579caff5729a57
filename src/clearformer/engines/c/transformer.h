/* A transformer in C11, for all four families in every variant of the configuration: libc and libm, nothing else.

   B batch, T query or target length, S key or source length, D model width, H heads, G key-value heads, E head width,
   F feed-forward width, V vocabulary, L layers; N = B T rows. Arrays are row-major and without gaps unless a comment
   says otherwise, weights are [out, in] as in PyTorch.

   Reading order: tiles.h, then a part each, forward beside backward: embedding.c, norm.c, linear.c, attention.c,
   activations.c, dropout.c; layers.c puts them together; model.c finds the weights by their names, room.c divides
   memory; families.c are the models, training.c their gradients, with loss.c, optimizer.c and muon.c; cache.c and
   summary.c are for decoding, and touch.c to look at all that is on the way, and to change it. Text as tokens is apart, in tokenizer.h,
   and the reading of files in loading.h. */

#ifndef TRANSFORMER_H
#define TRANSFORMER_H

#include "tiles.h"

enum family { FAMILY_TRANSFORMER, FAMILY_GPT, FAMILY_BERT, FAMILY_CLASSIFIER };
enum norm_kind { LAYER_NORM, RMS_NORM, NO_NORM };
enum activation { RELU, GELU, SQUARED_RELU, GELU_TANH, SWIGLU, GEGLU, GEGLU_TANH };
enum positions { SINUSOIDAL, LEARNED, ROTARY, ALIBI, RELATIVE, NO_POSITIONS };
enum pooling { POOL_FIRST, POOL_LAST, POOL_MEAN };

enum { BUCKETS = 32, FURTHEST = 128 }; /* of relative positions: farther keys are all in one bucket */
enum { SERIAL = 1 << 13 }; /* numbers; less work than this is done by one thread, since waking others takes longer */

/* `clearformer.config.ModelConfig`, with the same meanings; the enums above have its names in order. */
typedef struct {
    int32_t family, V, context, D, H, G, L, F, C, segments, ngram_buckets, window;
    int32_t norm_kind, post_norm, activation, positions, bias, scale_embeddings, tie_embeddings, qk_norm;
    int32_t causal_body, pooling; /* of a classifier: on a GPT */
    int32_t output_bias;          /* of an encoder-decoder */
    int32_t E;                    /* `head_width`, or D / H */
    int32_t rotary_context;
    float logit_cap, norm_epsilon;
    double rotary_base, rotary_factor, rotary_low, rotary_high;
} config;

/* A parameter's name as it is put together: "decoder.layers.3.attention.qkv_projection.weight". */
typedef struct {
    char text[96];
    count length;
} name;

/* A linear layer or a norm; `bias` may be NULL. */
typedef struct {
    float *weight, *bias;
} affine;

/* Self-attention has `qkv`, cross-attention `query` and `kv` in its place. */
typedef struct {
    affine qkv, query, kv, query_norm, key_norm, output, norm;
} attention_weights;

typedef struct {
    attention_weights self, cross;
    affine linear1, linear2, norm;
} layer;

typedef struct {
    layer *layers;   /* L of them */
    affine norm;     /* of pre-norm stacks only, if there are norms */
    float *relative; /* [BUCKETS, H], of relative positions only */
    int causal, cross;
} stack;

/* Tables that follow from the configuration; those that its positions do not need are NULL. */
typedef struct {
    float *sinusoids;       /* [context, D] */
    float *cosines, *sines; /* [context, E / 2] */
    float *slopes;          /* [H] */
    int32_t *buckets;       /* [2, FURTHEST + 1]: of each distance in an encoder, and in a decoder */
} tables;

typedef struct {
    config c;
    tables t;
    float *embedding, *positions, *pairs, *triples, *segments;
    affine embedding_norm, transform, transform_norm, output, class_projection;
    stack encoder, decoder;
} model;

/* A parameter, or its gradient: [rows, columns], or a vector [rows] with `columns` 0. */
typedef struct {
    const char *name;
    count rows, columns;
    float *at;
} tensor;

/* Keys and values of past tokens; slot p of a row holds position p. Slots beyond a row's length are free. */
typedef struct {
    count B, capacity;         /* rows, tokens a row can hold */
    count M, S;                /* an encoder-decoder's sources, and their length */
    int32_t *lengths;          /* [B] */
    int32_t *sources;          /* [B]: which of them a row translates; unused elsewhere */
    int32_t *tokens;           /* [B, capacity], which only n-grams need */
    float *keys, *values;      /* [L, B, G, capacity, E] */
    float *memory_keys_values; /* [L, M, S, 2 G E]: of the sources, projected once; NULL elsewhere */
} cache;

/* What a model computes on. `real` says which tokens are no padding, NULL: all; `past` NULL: nothing came before. */
typedef struct {
    count B, T;
    const int32_t *tokens, *segments; /* [B, T] */
    const uint8_t *real;              /* [B, T] */
    cache *past;
} batch;

/* What cross-attention reads: the encoder's output [B, S, D]. With a cache it holds the projections instead. */
typedef struct {
    count S;
    const float *at;
    const uint8_t *real; /* [B, S]; with a cache [M, S] */
} memory;

/* What can be kept or changed of a stack, in the order of computation: numbers [B, heads, tokens, columns], whose names
   touch.c has. */
enum {
    STACK_INPUT,
    SELF_INPUT, SELF_QUERIES, SELF_KEYS, SELF_VALUES, SELF_WEIGHTS, SELF_CORE, SELF_OUTPUT, SELF_RESIDUAL,
    CROSS_INPUT, CROSS_QUERIES, CROSS_KEYS, CROSS_VALUES, CROSS_WEIGHTS, CROSS_CORE, CROSS_OUTPUT, CROSS_RESIDUAL,
    FEED_FORWARD_INPUT, LINEAR1, LINEAR2_INPUT, FEED_FORWARD_OUTPUT, FEED_FORWARD_RESIDUAL,
    STACK_OUTPUT,
    PLACES
};

/* A place of one layer, and its sizes; `heads` 0: one vector for each token, [B, tokens, columns]. */
typedef struct {
    name name;
    count number, heads, tokens, columns;
} place;

typedef struct {
    count first, end;
} range;

enum action { KEEP, SCALE, PUT };

/* KEEP copies the numbers of a place to `at`, SCALE multiplies them by `factor` (0: cuts them off), PUT copies them from
   `at`, which is [B, heads, tokens, columns] of the ranges. B is the batch's or, of PUT, 1: all its rows get the same.
   Ranges may reach beyond what there is. Tokens are counted from the start of the text, also with a cache. */
typedef struct {
    int32_t action;
    float factor;
    count place;
    range heads, tokens, columns;
    count B;
    float *at;
} touch;

/* What is touched in a pass, in this order; `first` is the number of the first place of the layer that is running. */
typedef struct {
    const touch *at;
    count number, first;
} touches;

/* What a sub-layer leaves on the residual stream. `between` is its norm (pre-norm) or the sum before the norm (post-norm);
   without training `out` is `in`, and all layers use the same room in turn. */
typedef struct {
    const float *in;           /* [N, D] */
    float *between, *out;      /* [N, D] */
    float *statistics;         /* [2, N]: mean and r of the norm */
} residual_room;

typedef struct {
    residual_room residual;
    float *qkv;                  /* [N, (H + 2G) E], of cross-attention the queries [N, H E] */
    float *kv;                   /* [B, S, 2 G E], of cross-attention */
    float *raw, *raw_statistics; /* queries and keys before their norms, [.., (H + G) E] and 2 numbers a head */
    float *weights;              /* [B, H, T, whole vectors of S], for training */
    float *heads;                /* [N, H E] */
} attention_room;

typedef struct {
    residual_room residual;
    float *wide, *narrow; /* [N, F or 2F], [N, F] */
} feed_forward_room;

typedef struct {
    attention_room self, cross;
    feed_forward_room feed_forward;
} layer_room;

/* `embedded` [N, D] is what the stack reads, `before` what BERT's embedding norm reads; `out` what it writes. */
typedef struct {
    layer_room *layers;
    float *before, *embedded, *out, *statistics, *norm_statistics;
} stack_room;

/* Of all that has no room of its own: sub-layers' outputs y [N, D], pieces of `piece` numbers for each thread,
   `shared` by all for transposed rows, and for
   training gradients: g [N, D] of the residual stream, dn [N, D] of what a sub-layer reads, and so on. */
typedef struct {
    stack_room encoder, decoder;
    float *y, *threads, *shared;
    count piece;
    float dropout;
    uint32_t seed;
    touches touches; /* none, unless set_touches is called */
    float *g, *dn, *dheads, *dqkv, *dkv, *dwide, *dnarrow, *dmemory;
    float *dbuckets; /* [threads, BUCKETS, H]: each thread's part of the gradient of relative positions */
    float *chunk; /* for losses: see training.c */
} room;

enum purpose { INFERENCE, LOSS, TRAINING }; /* of a room */

/* What a model is trained on: targets [N], or [B] of a classifier, IGNORE where nothing is predicted. */
typedef struct {
    const int64_t *targets;
    float scale, smoothing; /* of the gradients; of the labels */
    int token_loss;         /* of a classifier: whether every token has a target */
} objective;

/* [B, heads, T, E] of any strides; the last axis has no gaps */
typedef struct {
    float *at;
    count batch, head, row;
} heads;

/* One call of attention. Query t of row b stands at position past[b] + t; with `past` NULL, at t. */
typedef struct {
    count B, H, G, T, S, E;
    heads q, k, v, out;
    float *weights;      /* [B, H, T, whole vectors of S], or NULL: not kept */
    float dropout;       /* of the weights */
    uint32_t seed;
    const int32_t *past;
    const int32_t *sources; /* [B]: which rows of keys and values each row of queries attends to; NULL: its own */
    const uint8_t *real; /* [B, S]: which keys are no padding, NULL: all */
    const float *slopes; /* ALiBi's, [H], or NULL */
    const float *relative;  /* [BUCKETS, H], or NULL */
    const int32_t *buckets; /* [FURTHEST + 1]: of each distance */
    count window;        /* 0: none */
    int causal, place;   /* of the weights */
    touches touches;
} attention_task;

/* One parameter, its gradient and its averages. `keep` is what decay leaves of it. */
typedef struct {
    count size;
    float *w, *g, *m, *v, keep, correction, rate;
} update;

/* norm.c */
void norm(count rows, const float *x, float *out, float *mean, float *r, count width, const float *weight,
          const float *bias, float eps, int centred);
void norm_backward(count rows, const float *g, const float *x, const float *mean, const float *r, float *dx,
                   float *dweight, float *dbias, count width, const float *weight, int centred);
void norm_rows(const config *c, count rows, count width, const float *x, affine w, float *out, float *statistics);
void norm_rows_backward(const config *c, count rows, count width, const float *g, const float *x,
                        const float *statistics, affine w, affine dw, float *dx, const room *r);

/* activations.c */
void gelu(count n, const float *x, float *out, float *slope);
void gelu_tanh(count n, const float *x, float *out, float *slope);
void swiglu(count rows, const float *x, float *out, count width);
void swiglu_backward(count rows, const float *g, const float *x, float *dx, count width);
void activate(int activation, count rows, count F, float *x, float *out);
void activate_backward(int activation, count rows, count F, const float *g, const float *x, float *dx);
count linear1_width(const config *c);

/* linear.c */
void linear(count N, count in, count out, const float *x, affine w, float *y, const room *r);
void linear_backward(count N, count in, count out, const float *g, const float *x, affine w, affine dw, float *dx,
                     int add);
count linear_piece(count in), linear_shared(count in);

/* dropout.c */
void dropout(count rows, count width, float *x, float p, uint32_t seed);
int dropped(uint32_t seed, count row, count column, float p);
uint32_t seed_of(uint32_t seed, count site);

/* attention.c */
void attend(const attention_task *task, const room *r);
void attend_backward(const attention_task *task, heads g, heads dq, heads dk, heads dv, float *drelative,
                     const room *r);
count attention_piece(count T, count S, count E, int training);
void rotate(const tables *t, count B, count T, heads x, count number, count E, const int32_t *past, int back);

/* embedding.c */
void embed(const model *m, const batch *b, float *x);
void embed_backward(const model *m, const model *d, const batch *b, const float *g);

/* model.c */
name join(name prefix, const char *rest);
name numbered(name prefix, count index);
count model_bytes(const config *c);
model *find_model(const config *c, char *at, tensor *parameters, count number, char *fault);
int has_encoder(const config *c);
int has_decoder(const config *c);

/* room.c */
count make_room(const model *m, count B, count T, count S, count keys, int purpose, char *at, room **result);

/* layers.c */
void run_stack(const model *m, const stack *s, const batch *b, const memory *from, stack_room *sr, room *r);
void run_stack_backward(const model *m, const stack *s, const stack *ds, const batch *b, const memory *from,
                        stack_room *sr, room *r);
void project_memory(const model *m, const attention_weights *w, count B, const memory *from, attention_room *ar,
                    float *kv, const room *r);

/* families.c */
float *decoder_features(const model *m, const batch *b, const memory *from, room *r);
float *encoder_features(const model *m, const batch *b, room *r);
void token_logits(const model *m, count N, float *x, float *logits, room *r);
void class_logits(const model *m, const batch *b, float *x, float *logits, room *r);
void remember(const model *m, count B, const memory *from, float *keys_values, room *r);
void cap_logits(const config *c, count n, float *logits);
void pool(const model *m, const batch *b, float *x, float *pooled, int back);

/* training.c */
count chunk_size(const config *c);

/* loss.c */
void cross_entropy(count rows, const float *z, const int64_t *targets, float *losses, float *dz, count width,
                   float smoothing, int64_t ignored);

/* optimizer.c */
void adamw(count n, const update *each, float fresh_m, float fresh_v, float epsilon);

/* muon.c */
count muon_size(count rows, count columns);
void muon(count rows, count columns, float *w, const float *g, float *momentum, float fresh, float keep, float rate,
          const float *newton_schulz, count steps, float *scratch);

/* cache.c */
void write_cache(const config *c, cache *past, count index, count T, heads k, heads v);
void advance_cache(cache *past, const int32_t *tokens, count T);
void reorder_cache(const config *c, const cache *past, const int32_t *rows, cache *to);

/* summary.c */
void summarize(count rows, count V, const float *z, count columns, float *maxima, double *log_sums);

/* touch.c */
count first_place(const model *m, const stack *s, count index);
void touch_row(const touch *t, count b, count h, count p, float *x, count first, count end);
void touch_place(const touches *all, int what, const batch *b, heads x, count number, count width);

#endif
