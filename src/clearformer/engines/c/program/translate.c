/* An encoder-decoder translates by beam search, as `clearformer.generation.beam` does; a beam of one is greedy.

   score(Y) = log P(Y | X) / lp(Y)        lp(Y) = ((5 + |Y|) / 6)^length_penalty        Wu et al. 2016, arXiv:1609.08144

   Each step extends every open hypothesis by every token, and keeps the likeliest of these. One that ends keeps its
   place in the beam. The search stops when no open one can still have a better score than the best that has ended. */

#include "program.h"

enum { EXTRA_TOKENS = 50 }; /* of a target, at most, beyond those of its source */

/* An open hypothesis is a row of tokens, the first BOS; a candidate is one more token of it. */
typedef struct {
    double log_p;
    int32_t row, token;
} candidate;

typedef struct {
    const program *p;
    count S, size, limit;     /* of the source; of the beam; of a target's tokens with EOS */
    count open, ended, length;
    int32_t *rows, *spare;    /* [size, limit + 1] */
    double *log_p;            /* [size] */
    candidate *best;          /* [size] */
    float *keys_values;       /* [L, 1, S, 2 G E] of the source */
    cache past, next;
    float *logits;            /* [size, V] */
    room *r;
    double score;             /* of the best that has ended, which is `found` */
    ids found;
} search;

/* lp of a target of `length` tokens, EOS included. */
static double penalty(const search *s, count length)
{
    return pow((5.0 + (double)length) / 6.0, s->p->options[LENGTH_PENALTY]);
}

/* Put a candidate among the likeliest, of which there are n so far and may be `most`. Returns how many there are. */
static count insert(candidate *best, count n, count most, candidate x)
{
    count i = n;
    if (n == most && !(x.log_p > best[n - 1].log_p))
        return n;
    for (i -= n == most; i > 0 && x.log_p > best[i - 1].log_p; i--)
        best[i] = best[i - 1];
    best[i] = x;
    return n + (n < most);
}

/* The likeliest ways to go on, of all open rows: as many as the beam has free places. */
static count candidates(search *s)
{
    const count V = s->p->m->c.V, most = s->size - s->ended;
    count n = 0;
    for (count row = 0; row < s->open; row++) {
        const float *logits = s->logits + row * V;
        const float top = largest(V, logits);
        double sum = 0;
        check_logits(V, logits);
        for (count i = 0; i < V; i++)
            sum += expf(logits[i] - top);
        const double total = log(sum);
        for (int32_t i = 0; i < V; i++)
            if (i != PAD && i != BOS && i != UNK)
                n = insert(s->best, n, most, (candidate){s->log_p[row] + (logits[i] - top) - total, (int32_t)row, i});
    }
    return n;
}

/* Whether a hypothesis is complete with a candidate. */
static int ends(const search *s, candidate x)
{
    return x.token == EOS || s->length == s->limit;
}

/* Keep a complete hypothesis if it is the best so far. */
static void finish(search *s, candidate x)
{
    const double score = x.log_p / penalty(s, s->length);
    s->ended++;
    if (s->found.n >= 0 && !(score > s->score))
        return;
    s->score = score;
    s->found.n = s->length - (x.token == EOS);
    memcpy(s->found.at, s->rows + x.row * (s->limit + 1) + 1, (size_t)(s->length - 1) * sizeof(int32_t));
    s->found.at[s->length - 1] = x.token;
}

/* The candidates that do not end become the open rows. */
static void advance(search *s, count n)
{
    int32_t *order = allocate(n * (count)sizeof(int32_t));
    s->open = 0;
    for (count i = 0; i < n; i++) {
        if (ends(s, s->best[i]))
            continue;
        int32_t *to = s->spare + s->open * (s->limit + 1);
        memcpy(to, s->rows + s->best[i].row * (s->limit + 1), (size_t)s->length * sizeof(int32_t));
        to[s->length] = s->best[i].token;
        s->log_p[s->open] = s->best[i].log_p;
        order[s->open++] = s->best[i].row;
    }
    int32_t *const rows = s->spare;
    s->spare = s->rows, s->rows = rows;
    s->next.B = s->open;
    reorder_cache(&s->p->m->c, &s->past, order, &s->next);
    const cache past = s->next;
    s->next = s->past, s->past = past;
    free(order);
}

/* One more token of all open rows. */
static void step(search *s)
{
    const model *m = s->p->m;
    const memory source = {s->S, NULL, NULL};
    int32_t *last = allocate(s->open * (count)sizeof(int32_t));
    for (count row = 0; row < s->open; row++)
        last[row] = s->rows[row * (s->limit + 1) + s->length];
    const batch b = {s->open, 1, last, NULL, NULL, &s->past};
    token_logits(m, s->open, decoder_features(m, &b, &source, s->r), s->logits, s->r);
    free(last);
    const count n = candidates(s);
    int can_win = 0;
    s->length++;
    for (count i = 0; i < n; i++)
        if (ends(s, s->best[i]))
            finish(s, s->best[i]);
    for (count i = 0; i < n; i++)
        can_win |= !ends(s, s->best[i]) && (s->found.n < 0 || s->best[i].log_p / penalty(s, s->limit) > s->score);
    if (can_win)
        advance(s, n);
    else
        s->open = 0;
}

/* Search for the translation of a source that ends with EOS. */
static void run(search *s, ids source)
{
    const model *m = s->p->m;
    const memory from = {source.n, features_of(s->p, source, NULL, s->r), NULL};
    s->past.B = s->open = 1;
    remember(m, 1, &from, s->keys_values, s->r);
    s->rows[0] = BOS;
    s->log_p[0] = 0;
    while (s->open)
        step(s);
}

static search new_search(program *p, count S)
{
    const config *c = &p->m->c;
    const count size = (count)p->options[BEAM], limit = least(c->context, S - 1 + EXTRA_TOKENS);
    const count row = (limit + 1) * (count)sizeof(int32_t);
    float *keys_values = allocate(c->L * S * 2 * c->G * c->E * (count)sizeof(float));
    return (search){
        .p = p, .S = S, .size = size, .limit = limit, .r = room_for(p, size, 1, S, limit),
        .rows = allocate(size * row), .spare = allocate(size * row), .found = {allocate(row), -1},
        .log_p = allocate(size * (count)sizeof(double)), .best = allocate(size * (count)sizeof(candidate)),
        .keys_values = keys_values, .past = new_cache(c, size, limit, S, keys_values),
        .next = new_cache(c, size, limit, S, keys_values),
        .logits = allocate(size * c->V * (count)sizeof(float)),
    };
}

static void free_search(search *s)
{
    free_cache(s->past);
    free_cache(s->next);
    free(s->keys_values);
    free(s->rows);
    free(s->spare);
    free(s->log_p);
    free(s->best);
    free(s->logits);
    free(s->found.at);
}

/* Print the translation of a text on a line, which of white space is empty. */
void translate(program *p, text x)
{
    const count context = p->m->c.context;
    if (!is_blank(x.at, x.length)) {
        ids source = encode(p, x);
        if (source.n >= context)
            fail("a source of fewer than %n tokens was expected, the model's context, found %n; split it into "
                 "sentences", context, source.n);
        source.at[source.n++] = EOS;
        search s = new_search(p, source.n);
        run(&s, source);
        print_tokens(p, s.found.at, s.found.n, NULL);
        free_search(&s);
        free(source.at);
    }
    printf("\n");
    fflush(stdout);
}
