/* Tokens that are looked for in a text before all others. */

#ifndef ADDED_H
#define ADDED_H

#include "tokenizer.h"

/* A search in a text: what stands before `used` has been returned, and what stands before `at` has been searched. */
typedef struct {
    const char *text, *used, *at, *end;
} search;

/* The text from `used` up to a token; `token` NULL: there is none, and the text is all that is left. */
typedef struct {
    const added_token *token;
    const char *end;
} found_token;

const char *without_space_before(const char *start, const char *at);
const char *without_space_behind(const char *at, const char *end);
found_token next_added(const tokenizer *t, int normalized, search *s);

#endif
