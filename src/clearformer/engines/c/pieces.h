/* Where a piece of text ends. */

#ifndef PIECES_H
#define PIECES_H

#include "tokenizer.h"

const char *space_or_word_end(const char *at, const char *end);
const char *piece_end(const tokenizer *t, const char *at, const char *end);

#endif
