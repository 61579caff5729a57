/* A run's files as a model, and the checks of what it is given. */

#include "loading.h"

/* The model of a run's config.json and model.safetensors, whose weights are read where they lie: at a multiple of 4,
   for as long as the model is used. It is laid to the start of `memory`, at a multiple of 8.
   Returns the bytes of memory, 0 if there is a fault; with `memory` NULL nothing is laid out. */
count open_model(const char *configuration, count length, const char *weights, count size, char *memory, char *fault)
{
    config c;
    count number;
    if (!read_configuration((json){configuration, configuration + length}, &c, fault))
        return 0;
    const count table = read_tensors(weights, size, NULL, &number, fault);
    if (!table)
        return 0;
    if (c.L > number)
        return explain(fault, "weights of %n layers were expected, found %n tensors; use the weights of this run",
                       (count)c.L, number);
    const count all = (model_bytes(&c) + 7) / 8 * 8;
    if (memory && !read_tensors(weights, size, memory + all, &number, fault))
        return 0;
    if (memory && (find_model(&c, memory, (tensor *)(memory + all), number, fault), *fault))
        return 0;
    return all + table;
}

static int check_ids(const int32_t *ids, count n, count end, const char *kind, char *fault)
{
    for (count i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= end)
            return explain(fault, "%s from 0 to %n were expected, found %n; use the run's own tokenizer", kind, end - 1,
                           (count)ids[i]);
    return 1;
}

/* Whether a model can read `n` tokens after `past` others. */
int check_tokens(const model *m, const int32_t *tokens, count n, count past, char *fault)
{
    const count most = m->c.context - past;
    if (n < 1 || n > most)
        return explain(fault, "1 to %n tokens were expected, as the context is %n, found %n; change the length", most,
                       (count)m->c.context, n);
    return check_ids(tokens, n, m->c.V, "tokens", fault);
}

int check_segments(const model *m, const int32_t *segments, count n, char *fault)
{
    return check_ids(segments, n, m->c.segments, "segments", fault);
}
