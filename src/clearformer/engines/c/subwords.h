/* What a piece of text becomes. */

#ifndef SUBWORDS_H
#define SUBWORDS_H

#include "tokenizer.h"

enum { ROOM_PER_BYTE = 2 * sizeof(uint64_t) + 2 * sizeof(int32_t) }; /* of memory, for a piece and what it becomes */

int32_t *find_id(const tokenizer *t, const char *at, count length);
int32_t id_of_sides(const tokenizer *t, const char *at, count length);
int32_t *find_rank(const tokenizer *t, int32_t left, int32_t right);
count encode_piece(const tokenizer *t, const char *at, const char *end, int32_t *ids, char *memory);

#endif
