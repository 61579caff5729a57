/* SentencePiece's tables of replacements. */

#ifndef CHARSMAP_H
#define CHARSMAP_H

#include "tokenizer.h"

enum { MOST_GROWTH = 13 }; /* of a text by a table, where a space counts as three bytes, which its mark has */

int read_charsmap(charsmap *m, json text, char *fault);
count replace_characters(const charsmap *m, const char *at, const char *end, char *to);

#endif
