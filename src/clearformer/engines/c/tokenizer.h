/* Text as token ids and back, as `clearformer.data.tokenizers` does it: vocabulary.c reads a run's tokenizer.json,
   tokenizer.c encodes and decodes. */

#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "fault.h"
#include "tiles.h"

enum { PAD, BOS, EOS, UNK, MASK }; /* ids of the special tokens; MASK is one only if the tokenizer `has_mask` */

enum kind { CHARACTER, WORD, BPE, NUMBER };

/* The bytes of a token: length of them from `start` on. */
typedef struct {
    int32_t start, length;
} token;

/* Two tokens that side by side become one. */
typedef struct {
    int32_t left, right, merged;
} merge;

/* A table of hashes: `size`, a power of two, slots for indices of what it holds, -1 where a slot is empty. */
typedef struct {
    int32_t *slots;
    uint32_t size;
} hash_table;

typedef struct {
    int32_t kind, has_mask, V, number_of_merges;
    token *tokens;            /* [V] */
    char *bytes;              /* of all tokens; in a BPE those that byte-level characters stand for */
    hash_table ids;           /* of tokens, by their bytes */
    merge *merges;            /* by rank */
    hash_table ranks;         /* of merges, by left and right */
    int32_t byte_tokens[256]; /* in a BPE: the token of each byte */
} tokenizer;

/* The first bytes of a character whose last ones are still to come, and whether a token came before; all zeros: none. */
typedef struct {
    char bytes[4];
    int16_t length, begun;
} partial;

/* vocabulary.c */
count read_tokenizer(const char *text, count length, char *memory, char *fault);

/* tokenizer.c */
int is_blank(const char *text, count length);
int32_t *find_id(const tokenizer *t, const char *at, count length);
int32_t *find_rank(const tokenizer *t, int32_t left, int32_t right);
count encode_text(const tokenizer *t, const char *text, count length, int32_t *ids, char *memory);
count decode_tokens(const tokenizer *t, const int32_t *ids, count number, partial *rest, char *text);

#endif
