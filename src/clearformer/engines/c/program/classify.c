/* A classifier names the likeliest classes of a text, as `clearformer.generation.classification` does.

   <bos> text <eos>          or, of several texts that tabs separate,        <bos> text <eos> text <eos>
     0    0     0                                                              0    0     0    1     1     segments */

#include "program.h"

typedef struct {
    double p;
    int32_t number; /* of the class */
} candidate;

/* The likelier first, of equal ones the first. */
static int by_probability(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->p != y->p ? (x->p < y->p) - (x->p > y->p) : x->number - y->number;
}

/* The tokens of n texts, each up to a tab. */
static ids *encode_texts(program *p, text x, count n)
{
    ids *texts = allocate(n * (count)sizeof(ids));
    for (count i = 0; i < n; i++) {
        const char *tab = memchr(x.at, '\t', (size_t)x.length);
        const count length = tab ? tab - x.at : x.length;
        texts[i] = encode(p, (text){x.at, length});
        if (tab)
            x = (text){x.at + length + 1, x.length - length - 1};
    }
    return texts;
}

static count total_of(const ids *texts, count n, count most)
{
    count sum = 0;
    for (count i = 0; i < n; i++)
        sum += least(texts[i].n, most);
    return sum;
}

/* Shorten the longest texts until they have no more than `room` tokens in all; of equally long ones the last. */
static void truncate_texts(program *p, ids *texts, count n, count room)
{
    count level = 0;
    if (total_of(texts, n, INT32_MAX) <= room)
        return;
    while (total_of(texts, n, level + 1) <= room)
        level++;
    p->truncated++;
    count spare = room - total_of(texts, n, level);
    for (count i = 0; i < n; i++) {
        const count longer = texts[i].n > level && spare > 0;
        texts[i].n = least(texts[i].n, level + longer);
        spare -= longer;
    }
}

/* One sequence of n texts, and the segments of its tokens. */
static ids join_texts(const config *c, const ids *texts, count n, int32_t *segments)
{
    ids tokens = {allocate(c->context * (count)sizeof(int32_t)), 0};
    tokens.at[tokens.n++] = BOS;
    segments[0] = 0;
    for (count i = 0; i < n; i++) {
        for (count j = 0; j <= texts[i].n; j++)
            segments[tokens.n + j] = (int32_t)least(i, c->segments - 1);
        memcpy(tokens.at + tokens.n, texts[i].at, (size_t)texts[i].n * sizeof(int32_t));
        tokens.n += texts[i].n;
        tokens.at[tokens.n++] = EOS;
    }
    return tokens;
}

/* The classes of a sequence, the likeliest first. */
static candidate *rank(program *p, ids tokens, const int32_t *segments)
{
    const config *c = &p->m->c;
    room *r = room_for(p, 1, tokens.n, 0, 0);
    const batch b = {1, tokens.n, tokens.at, NULL, NULL, NULL};
    float *features = features_of(p, tokens, c->segments ? segments : NULL, r);
    float *logits = allocate(c->C * (count)sizeof(float));
    candidate *all = allocate(c->C * (count)sizeof(candidate));
    double sum = 0;
    class_logits(p->m, &b, features, logits, r);
    check_logits(c->C, logits);
    const float most = largest(c->C, logits);
    for (int32_t i = 0; i < c->C; i++)
        sum += exp((double)logits[i] - (double)most);
    for (int32_t i = 0; i < c->C; i++)
        all[i] = (candidate){exp((double)logits[i] - (double)most) / sum, i};
    qsort(all, (size_t)c->C, sizeof(candidate), by_probability);
    free(logits);
    return all;
}

static void print_class(const program *p, candidate x)
{
    json name = json_first(p->classes);
    for (int32_t i = 0; i < x.number; i++)
        name = json_next(p->classes, name);
    char *label = allocate(name.end - name.at);
    fwrite(label, 1, (size_t)json_string(name, label, name.end - name.at), stdout);
    printf("\t%.4f", x.p);
    free(label);
}

/* Print the likeliest classes of a text and their probabilities on a line, which of white space is empty. */
void classify(program *p, text x)
{
    const config *c = &p->m->c;
    count n = 1;
    for (count i = 0; i < x.length; i++)
        n += x.at[i] == '\t';
    if (!is_blank(x.at, x.length)) {
        if (c->context < 1 + 2 * n)
            fail("%n texts at most were expected in a line, as the context is %n, found %n; shorten it",
                 ((count)c->context - 1) / 2, (count)c->context, n);
        ids *texts = encode_texts(p, x, n);
        int32_t *segments = allocate(c->context * (count)sizeof(int32_t));
        truncate_texts(p, texts, n, c->context - 1 - n);
        const ids tokens = join_texts(c, texts, n, segments);
        candidate *all = rank(p, tokens, segments);
        for (count i = 0; i < c->C && i < (count)p->options[TOP]; i++) {
            printf(i ? "\t" : "");
            print_class(p, all[i]);
        }
        for (count i = 0; i < n; i++)
            free(texts[i].at);
        free(texts);
        free(segments);
        free(tokens.at);
        free(all);
        p->classified++;
    }
    printf("\n");
    fflush(stdout);
}
