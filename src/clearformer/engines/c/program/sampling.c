/* Sampling: choose the next token from the logits, as `clearformer.generation.sampling` does, with another generator.

   p = softmax(logits / temperature), of which only the top_k likeliest stay, and of these the fewest that together have
   the probability top_p. */

#include "program.h"

typedef struct {
    double p;
    int32_t token;
} candidate;

/* The likelier first, of equal ones the first. */
static int by_probability(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p) - (x->p > y->p) : (x->token > y->token) - (x->token < y->token);
}

/* A number from 0 to 1, by splitmix64 (Steele et al. 2014). */
static double draw(uint64_t *random)
{
    uint64_t z = *random += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0; /* 2^53 */
}

/* How many of n candidates, the likeliest first, are sampled from. */
static count keep(const program *p, const candidate *all, count n)
{
    const double top_p = p->options[TOP_P];
    double sum = 0, before = 0;
    count kept = 0;
    if (p->options[TOP_K] > 0 && p->options[TOP_K] < (double)n)
        n = (count)p->options[TOP_K];
    for (count i = 0; i < n; i++)
        sum += all[i].p;
    for (; kept < n && before < top_p; kept++)
        before += all[kept].p / sum;
    return kept;
}

/* The likeliest token, the first of equal ones. Special tokens are never chosen. */
static int32_t likeliest(const program *p, const float *logits)
{
    const int32_t V = p->m->c.V;
    int32_t best = -1;
    check_logits(V, logits);
    for (int32_t i = 0; i < V; i++)
        if (!is_never_written(p->t, i) && (best < 0 || logits[i] > logits[best]))
            best = i;
    if (best < 0)
        fail("a vocabulary with a token that can be written was expected, found none");
    return best;
}

/* The next token, from logits [V]. */
int32_t choose(const program *p, const float *logits, uint64_t *random)
{
    const double temperature = p->options[TEMPERATURE];
    const int32_t V = p->m->c.V, best = likeliest(p, logits);
    count n = 0;
    if (temperature == 0)
        return best;
    candidate *all = allocate(V * (count)sizeof(candidate));
    for (int32_t i = 0; i < V; i++)
        if (!is_never_written(p->t, i))
            all[n++] = (candidate){exp(((double)logits[i] - (double)logits[best]) / temperature), i};
    const int all_stay = p->options[TOP_K] == 0 && p->options[TOP_P] == 1;
    if (!all_stay)
        qsort(all, (size_t)n, sizeof(candidate), by_probability);
    const count kept = all_stay ? n : keep(p, all, n);
    double sum = 0, rest;
    for (count i = 0; i < kept; i++)
        sum += all[i].p;
    count i = 0;
    for (rest = draw(random) * sum; i < kept - 1 && rest >= all[i].p; i++)
        rest -= all[i].p;
    const int32_t token = all[i].token;
    free(all);
    return token;
}
