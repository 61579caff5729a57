/* What is done to a text before it is cut into pieces. */

#ifndef NORMALIZER_H
#define NORMALIZER_H

#include "tokenizer.h"

int is_normalizer(int change);
count change_text(const tokenizer *t, const char *at, const char *end, int is_first, char *to);

#endif
