/* The model's weights, found by the names that PyTorch's parameters have, and the tables of its positions. */

#include "fault.h"
#include "transformer.h"

/* A longer name; what is beyond its 95 characters is lost. */
name join(name prefix, const char *rest)
{
    while (*rest && prefix.length + 1 < (count)sizeof prefix.text)
        prefix.text[prefix.length++] = *rest++;
    prefix.text[prefix.length] = 0;
    return prefix;
}

name numbered(name prefix, count index)
{
    char digits[20];
    int n = 0;
    do
        digits[n++] = (char)('0' + index % 10);
    while (index /= 10);
    for (char digit[2] = {0}; n > 0;) {
        digit[0] = digits[--n];
        prefix = join(prefix, digit);
    }
    return prefix;
}

#define USE_ITS_OWN "; use the weights of this run"

/* Where parameters are looked for. Those that are found come to the front, so that the others remain. */
typedef struct {
    const config *c;
    tensor *at;
    count number, found;
    char *fault; /* the first, else "" */
} finder;

static float *find(finder *f, name prefix, const char *rest, count rows, count columns)
{
    const name text = join(prefix, rest);
    const tensor wanted = {text.text, rows, columns, NULL};
    count i = f->found;
    while (i < f->number && strcmp(f->at[i].name, text.text))
        i++;
    if (i == f->number) {
        if (!*f->fault)
            explain(f->fault, "the tensor %t was expected, found none of that name" USE_ITS_OWN, &wanted);
        return NULL;
    }
    const tensor found = f->at[i];
    f->at[i] = f->at[f->found];
    f->at[f->found++] = found;
    if ((found.rows != rows || found.columns != columns) && !*f->fault)
        explain(f->fault, "the tensor %t was expected, found %t" USE_ITS_OWN, &wanted, &found);
    return found.at;
}

static affine find_linear(finder *f, name prefix, count in, count out, int bias)
{
    affine w = {find(f, prefix, ".weight", out, in), NULL};
    if (bias)
        w.bias = find(f, prefix, ".bias", out, 0);
    return w;
}

static affine find_norm(finder *f, name prefix, count width)
{
    affine w = {0};
    if (f->c->norm_kind != NO_NORM)
        w.weight = find(f, prefix, ".weight", width, 0);
    if (f->c->norm_kind == LAYER_NORM && f->c->bias)
        w.bias = find(f, prefix, ".bias", width, 0);
    return w;
}

static attention_weights find_attention(finder *f, name layer, const char *kind, int cross)
{
    const config *c = f->c;
    const count E = c->E;
    const name prefix = join(join(layer, "."), kind);
    attention_weights w = {0};
    if (cross) {
        w.query = find_linear(f, join(prefix, ".query_projection"), c->D, c->H * E, c->bias);
        w.kv = find_linear(f, join(prefix, ".kv_projection"), c->D, 2 * c->G * E, c->bias);
    } else {
        w.qkv = find_linear(f, join(prefix, ".qkv_projection"), c->D, (c->H + 2 * c->G) * E, c->bias);
    }
    if (c->qk_norm) {
        w.query_norm = find_norm(f, join(prefix, ".query_norm"), E);
        w.key_norm = find_norm(f, join(prefix, ".key_norm"), E);
    }
    w.output = find_linear(f, join(prefix, ".output_projection"), c->H * E, c->D, c->bias);
    w.norm = find_norm(f, join(prefix, "_residual.norm"), c->D);
    return w;
}

static void find_stack(finder *f, name prefix, stack *s)
{
    const config *c = f->c;
    if (c->positions == RELATIVE)
        s->relative = find(f, prefix, ".relative.weight", BUCKETS, c->H);
    for (count index = 0; index < c->L; index++) {
        const name at = numbered(join(prefix, ".layers."), index);
        layer *l = s->layers + index;
        l->self = find_attention(f, at, "attention", 0);
        if (s->cross)
            l->cross = find_attention(f, at, "cross_attention", 1);
        l->linear1 = find_linear(f, join(at, ".feed_forward.linear1"), c->D, linear1_width(c), c->bias);
        l->linear2 = find_linear(f, join(at, ".feed_forward.linear2"), c->F, c->D, c->bias);
        l->norm = find_norm(f, join(at, ".feed_forward_residual.norm"), c->D);
    }
    if (!c->post_norm)
        s->norm = find_norm(f, join(prefix, ".norm"), c->D);
}

/* All but a GPT, and a classifier on one. */
int has_encoder(const config *c)
{
    return c->family != FAMILY_GPT && !c->causal_body;
}

int has_decoder(const config *c)
{
    return c->family == FAMILY_TRANSFORMER || !has_encoder(c);
}

/* Bytes of a model: the struct, its layers and its tables. */
count model_bytes(const config *c)
{
    const count E = c->E;
    count numbers = c->positions == SINUSOIDAL ? c->context * (count)c->D : 0;
    numbers += c->positions == ROTARY ? c->context * E : c->positions == ALIBI ? c->H : 0;
    numbers += c->positions == RELATIVE ? 2 * (FURTHEST + 1) : 0;
    return (count)sizeof(model) + 2 * c->L * (count)sizeof(layer) + numbers * (count)sizeof(float);
}

/* The bucket of each distance: those up to half of the buckets exactly, the others by their logarithm. In an encoder
   later keys have half of all buckets for themselves. */
static void fill_buckets(int32_t *at)
{
    for (count causal = 0; causal < 2; causal++, at += FURTHEST + 1) {
        const count number = causal ? BUCKETS : BUCKETS / 2, exact = number / 2;
        for (count d = 0; d <= FURTHEST; d++) {
            const double share = d < exact ? 0 : log((double)d / exact) / log((double)FURTHEST / exact);
            at[d] = (int32_t)(d < exact ? d : least(exact + (count)(share * (number - exact)), number - 1));
        }
    }
}

#define TURN 6.283185307179586 /* 2 pi */

/* The frequency of pair i of rotary positions. Of pairs that turned less than a few times within the context of before it
   is divided by the factor; without such a context, of all.      Llama 3.1; Chen et al. 2023, arXiv:2306.15595 */
static double rotary_frequency(const config *c, count i)
{
    const double theta = pow(c->rotary_base, -2.0 * i / c->E), turns = c->rotary_context * theta / TURN;
    const double share = (turns - c->rotary_low) / (c->rotary_high - c->rotary_low);
    const double kept = share < 0 ? 0 : share > 1 ? 1 : share;
    return theta * (kept + (1 - kept) / c->rotary_factor);
}

static void fill_tables(const config *c, tables *t, float *at)
{
    const count E = c->E, width = c->positions == ROTARY ? E : c->D;
    *t = (tables){0};
    if (c->positions == ALIBI) { /* slopes of the power of two below H, then every other one of the power above */
        count power = 1;
        while (2 * power <= c->H)
            power *= 2;
        t->slopes = at;
        for (count h = 0; h < c->H; h++)
            at[h] = (float)pow(2, h < power ? -8.0 * (h + 1) / power : -4.0 * (2 * (h - power) + 1) / power);
    }
    if (c->positions == RELATIVE)
        fill_buckets(t->buckets = (int32_t *)at);
    if (c->positions == SINUSOIDAL)
        t->sinusoids = at;
    if (c->positions == ROTARY)
        t->cosines = at, t->sines = at + c->context * (E / 2);
    for (count p = 0; (t->sinusoids || t->cosines) && p < c->context; p++)
        for (count i = 0; i < width / 2; i++) {
            const double angle = p * (t->cosines ? rotary_frequency(c, i) : pow(10000, -2.0 * i / width));
            *(t->sinusoids ? t->sinusoids + p * width + 2 * i : t->sines + p * (width / 2) + i) = (float)sin(angle);
            *(t->sinusoids ? t->sinusoids + p * width + 2 * i + 1 : t->cosines + p * (width / 2) + i) =
                (float)cos(angle);
        }
}

/* Lay a model into `at`, of model_bytes(c). `fault` says which parameter is missing, has another shape or is not the
   model's; "" if there is none. The parameters may change their order. */
model *find_model(const config *c, char *at, tensor *parameters, count number, char *fault)
{
    model *m = (model *)at;
    layer *layers = (layer *)(at + sizeof(model));
    *m = (model){.c = *c};
    fill_tables(c, &m->t, (float *)(layers + 2 * c->L));
    finder f = {.c = &m->c, .at = parameters, .number = number, .fault = fault};
    *fault = 0;
    const name none = {0}, body = join(none, c->family == FAMILY_CLASSIFIER ? "body." : "");
    m->embedding = find(&f, body, "embedding.weight", c->V, c->D);
    if (c->positions == LEARNED)
        m->positions = find(&f, body, "positions.weight", c->context, c->D);
    if (c->ngram_buckets) {
        m->pairs = find(&f, body, "ngrams.pairs", c->ngram_buckets, c->D);
        m->triples = find(&f, body, "ngrams.triples", c->ngram_buckets, c->D);
    }
    if (c->segments)
        m->segments = find(&f, body, "segments.weight", c->segments, c->D);
    m->encoder = (stack){.layers = layers};
    m->decoder = (stack){.layers = layers + c->L, .causal = 1, .cross = c->family == FAMILY_TRANSFORMER};
    if (has_encoder(c))
        find_stack(&f, join(body, "encoder"), &m->encoder);
    if (has_decoder(c))
        find_stack(&f, join(body, "decoder"), &m->decoder);
    if (has_encoder(c) && c->family != FAMILY_TRANSFORMER)
        m->embedding_norm = find_norm(&f, join(body, "embedding_norm"), c->D);
    if (c->family == FAMILY_BERT) {
        m->transform = find_linear(&f, join(none, "transform"), c->D, c->D, 1);
        m->transform_norm = find_norm(&f, join(none, "transform_norm"), c->D);
    }
    if (c->family == FAMILY_BERT || (c->family == FAMILY_TRANSFORMER && c->output_bias))
        m->output.bias = find(&f, none, "output_projection.bias", c->V, 0);
    if (c->family == FAMILY_CLASSIFIER)
        m->class_projection = find_linear(&f, join(none, "class_projection"), c->D, c->C, 1);
    else
        m->output.weight =
            c->tie_embeddings ? m->embedding : find(&f, none, "output_projection.weight", c->V, c->D);
    if (f.found < number && !*fault)
        explain(fault, "no more tensors were expected, found %t" USE_ITS_OWN, parameters + f.found);
    return m;
}
