/* What is done to a text before it is cut into pieces. */

#ifndef NORMALIZER_H
#define NORMALIZER_H

#include "tokenizer.h"

enum { MARK_LENGTH = 3 }; /* the bytes of U+2581 */

count normalize(const tokenizer *t, const char *at, const char *end, char *to, char *spare);
count change_text(const tokenizer *t, const char *at, const char *end, int is_first, char *to);

#endif
