/* Text as token ids and back, as `clearformer.data.tokenizers` does it, and for imported models, as the `tokenizers`
   package does: vocabulary.c reads a tokenizer.json, with parts.c, steps.c and around.c what clearformer did not write;
   tokenizer.c encodes and decodes, with added.c, normalizer.c, canonical.c, charsmap.c, pieces.c, subwords.c, and what
   characters.c and graphemes.c know of Unicode. */

#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "fault.h"
#include "json.h"
#include "tiles.h"

enum { PAD, BOS, EOS, UNK, MASK, ROLES }; /* of special tokens, and in clearformer's own vocabularies their ids */

/* What a piece of text becomes: one token, byte pairs over bytes or over characters, word pieces, or unigrams. */
enum kind { CHARACTER, WORD, BPE, NUMBER, CHARACTER_PAIRS, WORD_PIECES, UNIGRAMS };

/* Where an imported tokenizer cuts a text into pieces. */
enum cut { CUT_NOWHERE, CUT_GPT2, CUT_LLAMA3, CUT_QWEN2, CUT_WORDS, CUT_MARKS };

/* What its normalizer does with it before that: what BERT's does; the normal forms NFC and NFD; what a table says; and
   with its spaces, of which rows are two or more, and for which a mark, U+2581, can stand. */
enum step {
    AS_BERT, COMPOSE, DECOMPOSE, REPLACE_CHARACTERS, STRIP_LEFT, STRIP_RIGHT, JOIN_SPACES, PREPEND_MARK, MARK_SPACES,
    MARK_ROWS_OF_SPACES
};

/* What is done then: a space before the text, or marks for its spaces, and before it, unless it has one, if it is the
   first, or in any case. */
enum change { UNCHANGED, SPACE_BEFORE, MARKED, MARK_BEFORE, MARK_BEFORE_FIRST };

/* How tokens become text: their bytes; with a space between two; word pieces; with U+2581 as a space, but not in the
   first; with it as a space, but for one at the beginning. */
enum decoding { AS_BYTES, WITH_SPACES, AS_WORD_PIECES, AS_MARKS, AS_LATER_MARKS, AS_SENTENCE };

enum { MOST_AROUND = 4, MOST_STEPS = 4, EXPANSION = 6 };

/* A piece of `bytes` */
typedef struct {
    int32_t start, length;
} span;

/* `shown`: what it is decoded from, which of an added token is what is sought; `never`: a language model does not write
   it; `byte`: the one that <0xNN> stands for, -1 if it is no such token. */
typedef struct {
    span text, shown;
    int16_t never, byte;
} token;

/* A token that is looked for in a text before all others: `shown` in the text, or `sought`, the same normalized, in
   what the normalizer makes of the text. */
typedef struct {
    int32_t id, single_word, lstrip, rstrip, normalized;
    span shown, sought;
} added_token;

/* Two tokens that side by side become one. */
typedef struct {
    int32_t left, right, merged;
} merge;

/* A table of hashes: `size`, a power of two, slots for indices of what it holds, -1 where a slot is empty. */
typedef struct {
    int32_t *slots;
    uint32_t size;
} hash_table;

/* A table of replacements: see charsmap.c. */
typedef struct {
    char *trie;
    const char *replacements;
    uint32_t units, length;            /* of the trie, and the bytes of the replacements */
} charsmap;

/* tokenizer.mjs reads the integers up to `around`. */
typedef struct {
    int32_t kind, V;
    int32_t roles[ROLES];              /* ids; -1 where there is no such token */
    int32_t around_numbers[2];         /* of tokens that stand before a text, and behind it */
    int32_t around[2][MOST_AROUND];
    int32_t imported, cut, change, decoding;
    int32_t splits_words;              /* at white space, before all but the normalizer */
    int32_t number_of_steps, steps[MOST_STEPS];
    int32_t expansion;                 /* the most bytes that one byte of text becomes */
    int32_t has_sides;                 /* what is no piece of this side has a space before it, as in sides.py */
    int32_t cleans, spaces_chinese, strips_accents, lowers;   /* of BERT's normalizer */
    int32_t unknown;                   /* id of what the vocabulary lacks; -1: it is left out */
    int32_t falls_back, fuses_unknown, ignores_merges;
    int32_t most_characters;           /* of a word of word pieces */
    int32_t cleans_up;                 /* the text of word pieces */
    int32_t number_of_merges, number_of_added;
    int32_t longest, used, room;       /* bytes: of a token, of all, and the room for them */
    span prefix, shown_prefix;         /* of word pieces that are not the first, and where they become text */
    double unknown_score;
    token *tokens;                     /* [V] */
    char *bytes;                       /* of all tokens; over bytes, those that byte-level characters stand for */
    hash_table ids;                    /* of tokens, by their bytes */
    merge *merges;                     /* by rank */
    hash_table ranks;                  /* of merges, by left and right */
    double *scores;                    /* [V] of unigrams */
    added_token *added;
    charsmap replacements;
    int32_t byte_tokens[256];          /* of each byte; -1: none */
} tokenizer;

/* The first bytes of a character whose last ones are still to come, whether text came before, and whether the byte
   before was part of no character; all zeros: none of it. */
typedef struct {
    char bytes[4];
    int8_t length, begun, broken, unused;
} partial;

/* vocabulary.c */
count read_tokenizer(const char *text, count length, const char *names, count names_length, char *memory, char *fault);

/* tokenizer.c */
int is_blank(const char *text, count length);
int is_never_written(const tokenizer *t, int32_t id);
count most_tokens(const tokenizer *t, count length);
count encode_text(const tokenizer *t, const char *text, count length, int32_t *ids, char *memory);
count decode_tokens(const tokenizer *t, const int32_t *ids, count number, partial *rest, char *text);

#endif
