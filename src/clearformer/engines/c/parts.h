/* The parts of an imported tokenizer.json, but for its vocabulary. */

#ifndef PARTS_H
#define PARTS_H

#include "tokenizer.h"

int refuse_part(char *fault, const char *known, const char *name, json found);
int read_parts(tokenizer *t, json file, char *fault);
int read_around(tokenizer *t, json file, char *fault);

/* steps.c */
int read_normalizer(tokenizer *t, json found, char *fault);
json charsmap_in(json file);

#endif
