/* What tokenizers ask of a character; see unicode.h for where the answers come from. */

#ifndef CHARACTERS_H
#define CHARACTERS_H

#include "json.h"

enum { SPACE_LIKE = 1, WORD_LIKE = 2, OTHER = 4 }; /* \s, \w, [^\s\w]; some are of the last two */
enum { WHITE_SPACE, LETTER, DIGIT, MARK_LIKE };    /* \s, \p{L}, \p{N}, and what is none of them */
enum { MOST_PARTS = 4 };                           /* characters that one is composed of */

int classes_of(uint32_t code);
int category_of(uint32_t code);
int is_punctuation(uint32_t code);
int is_removed(uint32_t code);
int is_chinese(uint32_t code);
int combining_class(uint32_t code);
int grapheme_kind(uint32_t code);
int decompose(uint32_t code, uint32_t *to);
uint32_t compose(uint32_t code, uint32_t second);
int strip_accents(uint32_t code, uint32_t *to);
int lower(uint32_t code, uint32_t *to);
const char *next_code(const char *at, const char *end, uint32_t *code);
const char *last_code(const char *start, const char *at, uint32_t *code);

#endif
