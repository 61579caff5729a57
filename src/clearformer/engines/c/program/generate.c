/* A GPT continues its prompts.

   The first pass reads a prompt, then each token is one pass through the cache. When the context is full, its last half
   is read again from position 0. */

#include "program.h"

typedef struct {
    program *p;
    room *r;
    cache past;
    float *logits;
    ids tokens; /* n so far, at most one more than the context */
} generation;

/* Keep the last tokens of a text that is longer than the context. */
static void slide(generation *g)
{
    const count context = g->p->m->c.context, half = context > 1 ? context / 2 : 1;
    if (g->tokens.n <= context)
        return;
    memmove(g->tokens.at, g->tokens.at + g->tokens.n - half, (size_t)half * sizeof(int32_t));
    g->tokens.n = half;
    g->past.lengths[0] = 0;
}

static int32_t next_token(generation *g, uint64_t *random)
{
    const model *m = g->p->m;
    slide(g);
    const count past = g->past.lengths[0], T = g->tokens.n - past;
    const batch b = {1, T, g->tokens.at + past, NULL, NULL, &g->past};
    const memory nothing = {0};
    if (!check_tokens(m, b.tokens, T, past, fault))
        stop("");
    float *features = decoder_features(m, &b, &nothing, g->r);
    token_logits(m, 1, features + (T - 1) * m->c.D, g->logits, g->r);
    return choose(g->p, g->logits, random);
}

/* Print a prompt and what follows it, token by token. `row` is its number. */
static void continue_text(generation *g, text prompt, ids tokens, count row)
{
    const program *p = g->p;
    uint64_t random = ((uint64_t)p->options[SEED] << 32) + (uint64_t)row;
    partial rest = {{0}, 0, 0, 0, 0};
    fwrite(prompt.at, 1, (size_t)prompt.length, stdout);
    fflush(stdout);
    free(text_of(p, tokens.at, tokens.n, &rest).at); /* what follows goes on behind it */
    memcpy(g->tokens.at, tokens.at, (size_t)tokens.n * sizeof(int32_t));
    g->tokens.n = tokens.n;
    g->past.lengths[0] = 0;
    for (double step = 0; step < p->options[MAX_NEW_TOKENS]; step++) {
        const int32_t token = next_token(g, &random);
        g->tokens.at[g->tokens.n++] = token;
        print_tokens(p, &token, 1, &rest);
    }
    print_tokens(p, NULL, 0, &rest);
}

/* All texts are read before the first is continued: more than one have an empty line after each. */
void generate(program *p)
{
    const config *c = &p->m->c;
    count n = 0, room = 0, longest = c->context;
    text *prompts = NULL;
    ids *tokens = NULL;
    for (text x; next_text(p, &x); n++) {
        if (n == room) {
            prompts = resize(prompts, (room = 2 * n + 16) * (count)sizeof(text));
            tokens = resize(tokens, room * (count)sizeof(ids));
        }
        prompts[n] = x;
        tokens[n] = with_around(p, encode(p, x));
        longest = tokens[n].n > longest ? tokens[n].n : longest;
        if (!tokens[n].n)
            fail("a prompt of at least one token was expected, found an empty one; type a character");
        if (tokens[n].n > c->context)
            fprintf(stderr, "a prompt is too long for the context of %d tokens: truncated to its last half\n",
                    c->context);
    }
    if (!n)
        fail("a prompt was expected, found none; give one as an argument, or lines on standard input");
    if (p->unknown)
        fail("text in the run's vocabulary was expected, found %n pieces that it lacks; leave them out", p->unknown);
    generation g = {p, room_for(p, 1, c->context, 0, c->context), new_cache(c, 1, c->context, 0, NULL),
                    allocate(c->V * (count)sizeof(float)), {allocate((longest + 1) * (count)sizeof(int32_t)), 0}};
    for (count i = 0; i < n; i++) {
        continue_text(&g, prompts[i], tokens[i], i);
        printf(n > 1 ? "\n\n" : "\n");
    }
}
