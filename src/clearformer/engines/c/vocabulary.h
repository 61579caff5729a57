/* Reading a vocabulary. */

#ifndef VOCABULARY_H
#define VOCABULARY_H

#include "tokenizer.h"

enum { MOST_PREFIX = 16, ROOM_OF_PREFIXES = 2 * MOST_PREFIX }; /* bytes */

/* vocabulary.c */
count to_bytes(const tokenizer *t, char *at, count length);
int take_token(tokenizer *t, json text, int32_t id, char *fault);

/* imported.c */
count bytes_of_added(json added);
count room_of_added(const tokenizer *t, count length);
int read_unigrams(tokenizer *t, json vocabulary, char *fault);
int read_special(tokenizer *t, json file, json names, char *fault);

#endif
