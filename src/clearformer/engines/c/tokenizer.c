/* Encoding and decoding.

   A text is cut at its added tokens, changed and cut into pieces, each of which becomes tokens. clearformer's own
   tokenizers have no added tokens and change nothing; what stands between white space is a piece of numbers, the white
   space is dropped, and a space is put between them again. */

#include "tokenizer.h"
#include "added.h"
#include "characters.h"
#include "normalizer.h"
#include "pieces.h"
#include "subwords.h"

/* Whether text is white space alone, up to what is no UTF-8. */
int is_blank(const char *text, count length)
{
    const char *const end = text + length;
    uint32_t code;
    for (int bytes; text < end && (bytes = utf8(text, end, &code)) > 0; text += bytes)
        if (classes_of(code) != SPACE_LIKE)
            return 0;
    return text == end;
}

/* Whether a language model does not generate a token: a special one, or a row of its embedding that is no token's. */
int is_never_written(const tokenizer *t, int32_t id)
{
    return id >= t->V || t->tokens[id].never;
}

/* The most tokens that so many bytes of text can be. */
count most_tokens(const tokenizer *t, count length)
{
    return t->imported ? t->expansion * length : length;
}

/* An encoding in progress: `first` is where the text begins, as it is or normalized; `normal` and `changed` have room
   for what it becomes, `scratch` for the work on a piece. */
typedef struct {
    const tokenizer *t;
    const char *first;
    int32_t *ids;
    count n;
    char *normal, *changed, *scratch;
} encoding;

static void encode_changed(encoding *e, const char *at, const char *end)
{
    const tokenizer *t = e->t;
    const int drops_spaces = t->imported ? t->cut == CUT_WORDS : t->kind == NUMBER;
    for (const char *next; at < end; at = next) {
        next = piece_end(t, at, end);
        if (!drops_spaces || !is_blank(at, next - at))
            e->n += encode_piece(t, at, next, e->ids + e->n, e->scratch);
    }
}

/* A text without added tokens, already normalized. */
static void encode_plain(encoding *e, const char *at, const char *end)
{
    const tokenizer *t = e->t;
    for (const char *next; at < end; at = next) {
        next = t->splits_words ? space_or_word_end(at, end) : end;
        if (t->splits_words && is_blank(at, next - at))
            continue;
        if (t->change == UNCHANGED)
            encode_changed(e, at, next);
        else
            encode_changed(e, e->changed, e->changed + change_text(t, at, next, at == e->first, e->changed));
    }
}

/* A text that may have added tokens, those that are to be normalized or the others. */
static void encode_between(encoding *e, int normalized, const char *at, const char *end)
{
    for (search s = {at, at, at, end}; s.used < end;) {
        const char *first = s.used;
        const found_token found = next_added(e->t, normalized, &s);
        if (first < found.end && normalized)
            encode_plain(e, first, found.end);
        else if (first < found.end && e->t->number_of_steps) {
            e->first = first == e->first ? e->normal : NULL;
            encode_between(e, 1, e->normal, e->normal + normalize(e->t, first, found.end, e->normal, e->changed));
        } else if (first < found.end)
            encode_between(e, 1, first, found.end);
        if (found.token)
            e->ids[e->n++] = found.token->id;
    }
}

/* The language that a text of one side begins with, such as >>fra<<, is a token. Returns where the rest begins. */
static const char *encode_language(encoding *e, const char *at, const char *end)
{
    if (!e->t->has_sides || end - at < 4 || memcmp(at, ">>", 2) != 0)
        return at;
    for (const char *last = at + 4; last <= end; last++)
        if (memcmp(last - 2, "<<", 2) == 0) {
            e->ids[e->n++] = id_of_sides(e->t, at, last - at);
            return last;
        }
    return at;
}

/* Encode `length` bytes of text, less than 2 GB, into `ids`, of room for `most_tokens`, and return their number; -1 if
   the text is not UTF-8. What the vocabulary lacks becomes UNK. Special tokens in a text are plain text, but for an
   imported tokenizer, and none are put around it. With `memory` NULL: the bytes of memory that it needs, aligned to 8.
   No piece of a tokenizer that is not imported goes on after a newline, so that a long text can be encoded line by
   line. */
count encode_text(const tokenizer *t, const char *text, count length, int32_t *ids, char *memory)
{
    const char *const end = text + length;
    const count most = (most_tokens(t, length) + 7) / 8 * 8;
    uint32_t code;
    if (!memory)
        return (t->imported ? 2 * most : 0) + (most + 1) * (count)ROOM_PER_BYTE;
    for (const char *at = text; at < end;) {
        const int bytes = utf8(at, end, &code);
        if (bytes <= 0)
            return -1;
        at += bytes;
    }
    encoding e = {t, text, ids, 0, memory, memory + most, t->imported ? memory + 2 * most : memory};
    e.first = encode_language(&e, text, end);
    encode_between(&e, 0, e.first, end);
    return e.n;
}
