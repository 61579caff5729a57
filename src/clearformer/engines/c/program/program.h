/* The program `transformer`: an exported run on a command line. Each family has a file that does what the command
   `clearformer` does with it: generate.c (with sampling.c), translate.c, fill.c, classify.c. */

#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdio.h>
#include <stdlib.h>

#include "loading.h"
#include "tokenizer.h"

enum option { MAX_NEW_TOKENS, TEMPERATURE, TOP_K, TOP_P, SEED, BEAM, LENGTH_PENALTY, TOP, OPTIONS };

typedef struct {
    char *at;
    count length;
} text;

typedef struct {
    int32_t *at;
    count n;
} ids;

typedef struct {
    const model *m;
    const tokenizer *t;
    json classes; /* of a classifier: the array of their names */
    double options[OPTIONS];
    char **arguments;            /* texts, up to a NULL; NULL: the lines of standard input */
    count lines;                 /* read of standard input */
    count unknown;               /* tokens of the input that became UNK */
    count truncated, classified; /* texts */
    void *room;                  /* of passes */
    count room_bytes;
    char *kinds; /* of a BERT's tokens: see fill.c */
    int has_bare, has_spaced;
} program;

/* support.c */
extern char fault[FAULT_SIZE];
_Noreturn void stop(const char *where);
#define fail(...) (explain(fault, __VA_ARGS__), stop(""))
void *resize(void *at, count bytes);
void *allocate(count bytes);
text read_file(const char *path);
int next_text(program *p, text *x);
ids encode(program *p, text x);
ids with_around(const program *p, ids x);
text text_of(const program *p, const int32_t *tokens, count n, partial *rest);
void print_tokens(const program *p, const int32_t *tokens, count n, partial *rest);

/* passes.c */
room *room_for(program *p, count B, count T, count S, count keys);
cache new_cache(const config *c, count B, count capacity, count S, float *keys_values);
void free_cache(cache past);
float *features_of(const program *p, ids tokens, const int32_t *segments, room *r);
void check_logits(count n, const float *logits);

/* sampling.c */
int32_t choose(const program *p, const float *logits, uint64_t *random);

/* generate.c: all texts; translate.c, fill.c, classify.c: one after the other */
void generate(program *p);
void translate(program *p, text x);
void fill(program *p, text x);
void classify(program *p, text x);

#endif
