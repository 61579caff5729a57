/* A run's config.json as a `config`: its object "model", with the defaults, limits and names of clearformer.config. */

#include "loading.h"

#include <stddef.h>

enum {
    FORMAT = 1,
    MOST = 1 << 20,      /* of a size: the product of three is no more than 2^60 */
    MOST_ROWS = 1 << 24, /* of a number of rows, each of width D */
    ABSENT = -1          /* a setting that a family does not have */
};

#define CHANGE_IT "; change that value"

static const char *const flags[] = {"false", "true", NULL};
static const char *const families[] = {"transformer", "gpt", "bert", "classifier", NULL};
static const char *const norms[] = {"layer", "rms", "none", NULL};
static const char *const orders[] = {"pre", "post", NULL};
static const char *const activations[] = {"relu", "gelu", "squared_relu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh",
                                          NULL};
static const char *const positions[] = {"sinusoidal", "learned", "rotary", "alibi", "relative", "none", NULL};
static const char *const bodies[] = {"bert", "gpt", NULL};
static const char *const poolings[] = {"first", "last", "mean", NULL};

/* A key of "model": a choice of `words`, a size from `least` to `most`, a number that is at least or, where `least` is
   1, above 0; or one of training alone, which has no field. */
typedef struct {
    const char *name;
    size_t at;        /* of its field in `config` */
    int32_t usual[4]; /* of each family, where a file leaves it out */
    const char *const *words;
    count least, most;
} setting;

static const setting settings[] = {
    {"kind", offsetof(config, family), {0, 1, 2, 3}, families, 0, 0},
    {"vocab_size", offsetof(config, V), {37000, 50257, 30522, 30522}, NULL, 1, MOST_ROWS},
    {"context", offsetof(config, context), {512, 1024, 512, 512}, NULL, 1, MOST},
    {"d_model", offsetof(config, D), {512, 768, 768, 768}, NULL, 1, MOST},
    {"num_heads", offsetof(config, H), {8, 12, 12, 12}, NULL, 1, MOST},
    {"num_layers", offsetof(config, L), {6, 12, 12, 12}, NULL, 1, MOST},
    {"d_ff", offsetof(config, F), {2048, 3072, 3072, 3072}, NULL, 1, MOST},
    {"norm", offsetof(config, norm_kind), {0, 0, 0, 0}, norms, 0, 0},
    {"norm_order", offsetof(config, post_norm), {1, 0, 1, 1}, orders, 0, 0},
    {"activation", offsetof(config, activation), {RELU, GELU, GELU, GELU}, activations, 0, 0},
    {"positions", offsetof(config, positions), {SINUSOIDAL, LEARNED, LEARNED, LEARNED}, positions, 0, 0},
    {"bias", offsetof(config, bias), {1, 1, 1, 1}, flags, 0, 0},
    {"scale_embeddings", offsetof(config, scale_embeddings), {1, 0, 0, 0}, flags, 0, 0},
    {"tie_embeddings", offsetof(config, tie_embeddings), {1, 1, 1, 1}, flags, 0, 0},
    {"num_kv_heads", offsetof(config, G), {0, 0, 0, 0}, NULL, 0, MOST},
    {"head_width", offsetof(config, E), {0, 0, 0, 0}, NULL, 1, MOST},
    {"window", offsetof(config, window), {0, 0, 0, 0}, NULL, 0, MOST_ROWS},
    {"qk_norm", offsetof(config, qk_norm), {0, 0, 0, 0}, flags, 0, 0},
    {"ngram_buckets", offsetof(config, ngram_buckets), {0, 0, 0, 0}, NULL, 0, MOST_ROWS},
    {"output_bias", offsetof(config, output_bias), {0, ABSENT, ABSENT, ABSENT}, flags, 0, 0},
    {"segments", offsetof(config, segments), {ABSENT, ABSENT, 2, 0}, NULL, 0, MOST_ROWS},
    {"body", offsetof(config, causal_body), {ABSENT, ABSENT, ABSENT, 0}, bodies, 0, 0},
    {"pooling", offsetof(config, pooling), {ABSENT, ABSENT, ABSENT, POOL_FIRST}, poolings, 0, 0},
    {"num_classes", offsetof(config, C), {ABSENT, ABSENT, ABSENT, 2}, NULL, 2, MOST_ROWS},
    {"logit_cap", offsetof(config, logit_cap), {0, 0, 0, 0}, NULL, 0, 0},
    {"norm_epsilon", offsetof(config, norm_epsilon), {0, 0, 0, 0}, NULL, 1, 0},
    {"rotary_base", offsetof(config, rotary_base), {0, 0, 0, 0}, NULL, 1, 0},
    {"rotary_context", offsetof(config, rotary_context), {0, 0, 0, 0}, NULL, 0, MOST},
    {"rotary_factor", offsetof(config, rotary_factor), {0, 0, 0, 0}, NULL, 1, 0},
    {"rotary_low", offsetof(config, rotary_low), {0, 0, 0, 0}, NULL, 1, 0},
    {"rotary_high", offsetof(config, rotary_high), {0, 0, 0, 0}, NULL, 1, 0},
    {"dropout", 0, {0, 0, 0, 0}, NULL, 0, 0},
    {"zero_outputs", 0, {0, 0, 0, 0}, NULL, 0, 0},
    {"initial_std", 0, {0, 0, 0, 0}, NULL, 0, 0},
    {"mask_share", 0, {ABSENT, ABSENT, 0, ABSENT}, NULL, 0, 0},
};
enum { KIND, SETTINGS = sizeof settings / sizeof *settings };

static int is_in(const setting *s, int family)
{
    return s->usual[family] != ABSENT;
}

static int32_t *field_of(const setting *s, config *c)
{
    return (int32_t *)((char *)c + s->at);
}

static int read_choice(const setting *s, json value, config *c, char *fault)
{
    for (int i = 0; s->words[i]; i++)
        if (s->words == flags ? json_is(value, s->words[i]) : json_equals(value, s->words[i])) {
            *field_of(s, c) = i;
            return 1;
        }
    return explain(fault, "model.%s must be one of %w, found %j" CHANGE_IT, s->name, s->words, value);
}

static int read_size(const setting *s, json value, config *c, char *fault)
{
    const count size = json_count(value);
    if (size < s->least || size > s->most)
        return explain(fault, "model.%s must be a number from %n to %n, found %j" CHANGE_IT, s->name, s->least,
                       s->most, value);
    *field_of(s, c) = (int32_t)size;
    return 1;
}

static int read_number(const setting *s, json value, config *c, char *fault)
{
    const double number = json_number(value);
    if (!(s->least ? number > 0 : number >= 0) || !(number < (double)FLT_MAX))
        return explain(fault, s->least ? "model.%s must be above 0 and finite, found %j" CHANGE_IT
                       : "model.%s must be at least 0 and finite, found %j" CHANGE_IT, s->name, value);
    if (s->at >= offsetof(config, rotary_base)) /* from there on they are doubles */
        *(double *)((char *)c + s->at) = number;
    else
        *(float *)((char *)c + s->at) = (float)number;
    return 1;
}

static int read_setting(const setting *s, json value, config *c, char *fault)
{
    if (s->words)
        return read_choice(s, value, c, fault);
    if (s->most)
        return read_size(s, value, c, fault);
    return s->at ? read_number(s, value, c, fault) : 1;
}

/* All keys of the object "model", of which none may be unknown or there twice. */
static int read_settings(json object, config *c, char *fault)
{
    uint64_t seen = 0;
    for (json key = json_first(object), value; key.at; key = json_next(object, value)) {
        int index = 0;
        value = json_next(object, key);
        while (index < SETTINGS && !(is_in(settings + index, c->family) && json_equals(key, settings[index].name)))
            index++;
        if (index == SETTINGS)
            return explain(fault, "model has the unknown key %j; use the version of clearformer that wrote it", key);
        if (seen >> index & 1)
            return explain(fault, "model must have the key %j once, found it twice; remove one", key);
        seen |= (uint64_t)1 << index;
        if (!read_setting(settings + index, value, c, fault))
            return 0;
    }
    return 1;
}

/* What settings demand of each other. */
static int is_consistent(const config *c, char *fault)
{
    const count D = c->D, H = c->H, G = c->G, E = c->E;
    if (!E && D % H)
        return explain(fault, "model.num_heads must be a divisor of d_model (%n), found %n" CHANGE_IT, D, H);
    if (c->positions == SINUSOIDAL && D % 2)
        return explain(fault, "model.d_model must be even, as sinusoidal positions need, found %n" CHANGE_IT, D);
    if (c->positions == ROTARY && E % 2)
        return explain(fault, "model.head_width must be even, as rotary positions need, found %n" CHANGE_IT, E);
    if (c->positions == ROTARY && !E && D / H % 2)
        return explain(fault, "model.d_model must be an even multiple of num_heads, as rotary needs, found %n"
                       CHANGE_IT, D);
    if (c->rotary_low >= c->rotary_high)
        return explain(fault, "model.rotary_high must be above rotary_low, found one that is not" CHANGE_IT);
    if (H % G)
        return explain(fault, "model.num_kv_heads must be a divisor of num_heads (%n), found %n" CHANGE_IT, H,
                       G);
    if (c->qk_norm && c->norm_kind == NO_NORM)
        return explain(fault, "model.qk_norm must be false, since norm is none, found true" CHANGE_IT);
    if (c->causal_body && c->pooling == POOL_FIRST)
        return explain(fault, "model.pooling must be last or mean, since a GPT's first token attends only to itself, "
                       "found \"first\"" CHANGE_IT);
    if (c->causal_body && c->segments)
        return explain(fault, "model.segments must be 0, since a GPT has no segments, found %n" CHANGE_IT,
                       (count)c->segments);
    return 1;
}

/* Returns 0 if there is a fault. */
int read_configuration(json text, config *c, char *fault)
{
    if (!json_valid(text) || json_kind(text) != '{')
        return explain(fault, "an object of JSON was expected, found none; copy the run's config.json again");
    const json format = json_field(text, "format"), object = json_field(text, "model");
    if (format.at && (json_count(format) < 0 || json_count(format) > FORMAT))
        return explain(fault, "a configuration of format %n or older was expected, found format %j; use the version of "
                       "clearformer that wrote it", (count)FORMAT, format);
    if (json_kind(object) != '{')
        return explain(fault, "one object \"model\" was expected, found %j; copy the run's config.json again", object);
    *c = (config){.norm_epsilon = 1e-5f, .rotary_base = 10000, .rotary_factor = 1, .rotary_low = 1,
                  .rotary_high = 4};
    if (!read_choice(settings + KIND, json_field(object, "kind"), c, fault))
        return 0;
    for (const setting *s = settings; s < settings + SETTINGS; s++)
        if ((s->words || s->most) && is_in(s, c->family))
            *field_of(s, c) = s->usual[c->family];
    if (!read_settings(object, c, fault))
        return 0;
    if (c->G == 0)
        c->G = c->H;
    if (!is_consistent(c, fault))
        return 0;
    if (c->E == 0)
        c->E = c->D / c->H;
    return 1;
}
