/* The memory of passes, which grows with what they read. */

#include "program.h"

/* Room for B rows of T tokens, and of S of a source, where it was before; `keys`: of the cache. */
room *room_for(program *p, count B, count T, count S, count keys)
{
    const count bytes = make_room(p->m, B, T, S, keys, INFERENCE, NULL, NULL);
    room *r;
    if (bytes > p->room_bytes)
        p->room = resize(p->room, p->room_bytes = bytes);
    make_room(p->m, B, T, S, keys, INFERENCE, p->room, &r);
    return r;
}

/* A cache of B rows of at most `capacity` tokens; in an encoder-decoder, all of one source of S tokens, whose keys and
   values stay the caller's. */
cache new_cache(const config *c, count B, count capacity, count S, float *keys_values)
{
    const count width = c->G * (count)c->E * (count)sizeof(float), keys = c->L * B * capacity * width;
    cache past = {B, capacity, 1, S, allocate(B * (count)sizeof(int32_t)), allocate(B * (count)sizeof(int32_t)),
                  allocate(B * capacity * (count)sizeof(int32_t)), allocate(keys), allocate(keys), keys_values};
    memset(past.lengths, 0, (size_t)B * sizeof(int32_t));
    memset(past.sources, 0, (size_t)B * sizeof(int32_t));
    return past;
}

void free_cache(cache past)
{
    free(past.lengths);
    free(past.sources);
    free(past.tokens);
    free(past.keys);
    free(past.values);
}

/* The output [T, D] of the stack that reads a whole text. */
float *features_of(const program *p, ids tokens, const int32_t *segments, room *r)
{
    const batch b = {1, tokens.n, tokens.at, segments, NULL, NULL};
    const memory nothing = {0};
    if (!check_tokens(p->m, b.tokens, b.T, 0, fault))
        stop("");
    return has_encoder(&p->m->c) ? encoder_features(p->m, &b, r) : decoder_features(p->m, &b, &nothing, r);
}

/* Stop if a model that diverged computed n logits. */
void check_logits(count n, const float *logits)
{
    for (count i = 0; i < n; i++)
        if (!isfinite(logits[i]))
            fail("finite logits were expected, found NaN or infinity: the model diverged; train it anew");
}
