/* The parts of an imported tokenizer.json, but for its vocabulary. */

#ifndef PARTS_H
#define PARTS_H

#include "tokenizer.h"

int read_parts(tokenizer *t, json file, char *fault);
int read_around(tokenizer *t, json file, char *fault);

#endif
