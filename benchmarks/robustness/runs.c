/* Of a config.json, a model.safetensors and token ids: why the files or the tokens were refused, or that a model has read
   them. */

#include "fuzzing.h"
#include "loading.h"

enum {
    CAPACITY = 12,    /* of a cache, at most */
    LARGEST = 1 << 26 /* bytes of a model beside its weights */
};

static char *room_for(const model *m, count T, count S, count keys, room **r)
{
    char *memory = allocate(make_room(m, 1, T, S, keys, INFERENCE, NULL, NULL));
    make_room(m, 1, T, S, keys, INFERENCE, memory, r);
    return memory;
}

static cache make_cache(const config *c, count capacity, count S)
{
    const count G = c->G, E = c->E, keys = c->L * G * capacity * E * (count)sizeof(float);
    int32_t *lengths = allocate(sizeof *lengths), *sources = allocate(sizeof *sources);
    *lengths = *sources = 0;
    return (cache){1, capacity, S > 0, S, lengths, sources, allocate(capacity * (count)sizeof(int32_t)),
                   allocate(keys), allocate(keys), S ? allocate(c->L * S * 2 * G * E * (count)sizeof(float)) : NULL};
}

static void free_cache(cache *past)
{
    free(past->lengths);
    free(past->sources);
    free(past->tokens);
    free(past->keys);
    free(past->values);
    free(past->memory_keys_values);
}

/* A pass over T tokens. */
static void run_once(const model *m, const int32_t *tokens, count T, char *fault)
{
    const config *c = &m->c;
    const int segmented = c->segments && check_segments(m, tokens, T, fault);
    const batch b = {1, T, tokens, segmented ? tokens : NULL, NULL, NULL};
    const memory nothing = {0};
    room *r;
    char *at = room_for(m, T, 0, 0, &r);
    float *logits = allocate((c->family == FAMILY_CLASSIFIER ? c->C : T * c->V) * (count)sizeof(float));
    float *features = has_decoder(c) ? decoder_features(m, &b, &nothing, r) : encoder_features(m, &b, r);
    if (c->family == FAMILY_CLASSIFIER)
        class_logits(m, &b, features, logits, r);
    else
        token_logits(m, T, features, logits, r);
    free(logits);
    free(at);
}

/* One token after the other into a cache until it is full, of an encoder-decoder after T tokens of a source. */
static void decode(const model *m, const int32_t *tokens, count T, char *fault)
{
    const config *c = &m->c;
    const count S = c->family == FAMILY_TRANSFORMER ? T : 0, capacity = least(c->context, CAPACITY);
    cache past = make_cache(c, capacity, S);
    float *logits = allocate(c->V * (count)sizeof(float));
    memory from = {S, NULL, NULL};
    room *r;
    char *at = room_for(m, 1, S, capacity, &r);
    if (S) {
        const batch source = {1, S, tokens, NULL, NULL, NULL};
        from.at = encoder_features(m, &source, r);
        remember(m, 1, &from, past.memory_keys_values, r);
    }
    count p = 0;
    for (; p < capacity && check_tokens(m, tokens, 1, p, fault); p++) {
        const batch b = {1, 1, tokens, NULL, NULL, &past};
        token_logits(m, 1, decoder_features(m, &b, &from, r), logits, r);
    }
    if (p < capacity || (capacity == c->context && check_tokens(m, tokens, 1, p, fault)))
        abort();
    free_cache(&past);
    free(logits);
    free(at);
}

/* Tokens that a model can read, from any. */
static count fit(const model *m, int32_t *tokens, count n)
{
    for (count i = 0; i < n; i++)
        tokens[i] = (int32_t)((uint32_t)tokens[i] % (uint32_t)m->c.V);
    return least(n, m->c.context);
}

static void use(const model *m, int32_t *tokens, count n, char *fault)
{
    const int family = m->c.family, fits = check_tokens(m, tokens, n, 0, fault);
    printf(fits ? "opened" : "opened, tokens refused: %s", fault);
    if (!fits)
        n = fit(m, tokens, n);
    if (n && family != FAMILY_TRANSFORMER)
        run_once(m, tokens, n, fault);
    if (n && (family == FAMILY_TRANSFORMER || family == FAMILY_GPT))
        decode(m, tokens, n, fault);
}

static void answer(const block *blocks, char *fault)
{
    const block configuration = blocks[0], weights = blocks[1], ids = blocks[2];
    const count size = open_model(configuration.at, configuration.length, weights.at, weights.length, NULL, fault);
    char *memory = size && size <= LARGEST ? allocate(size) : NULL;
    if (size > LARGEST)
        printf("opened, too large to be used");
    else if (size && open_model(configuration.at, configuration.length, weights.at, weights.length, memory, fault))
        use((const model *)memory, (int32_t *)ids.at, ids.length / sizeof(int32_t), fault);
    else
        printf("refused: %s", fault);
    free(memory);
}

int main(void)
{
    return answer_all(answer);
}
