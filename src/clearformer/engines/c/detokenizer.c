/* Decoding: tokens as text, at once or as they come. */

#include "tokenizer.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD: for bytes that are no character */

/* What decoding writes; with `text` NULL it only counts. `begun`: whether a token came before; in a sentence, text. */
typedef struct {
    const tokenizer *t;
    char *text;
    count length;
    partial p;
} output;

static void put(output *out, const char *bytes, count n)
{
    if (out->t->decoding == AS_SENTENCE && n && !out->p.begun) {
        out->p.begun = 1;
        if (*bytes == ' ')
            bytes++, n--;
    }
    if (out->text)
        memcpy(out->text + out->length, bytes, (size_t)n);
    out->length += n;
}

/* Write U+FFFD for the first n bytes of a character that are left, or, in a sentence, for each that is left, and leave
   them out. */
static void put_broken(output *out, int n)
{
    partial *p = &out->p;
    const int used = out->t->decoding == AS_SENTENCE ? p->length : n;
    for (int i = 0; i < (out->t->decoding == AS_SENTENCE ? used : used > 0); i++)
        put(out, replacement, sizeof replacement - 1);
    p->length = (int8_t)(p->length - used);
    memmove(p->bytes, p->bytes + used, (size_t)p->length);
}

/* Write a character when its last byte has come. In a sentence, no byte behind a broken one is part of a character. */
static void put_byte(output *out, char byte)
{
    partial *p = &out->p;
    uint32_t code;
    p->bytes[p->length++] = byte;
    for (int bytes; p->length && (bytes = p->broken ? -1 : utf8(p->bytes, p->bytes + p->length, &code));) {
        if (bytes < 0) {
            p->broken = out->t->decoding == AS_SENTENCE;
            put_broken(out, -bytes);
            continue;
        }
        put(out, p->bytes, bytes);
        p->length = 0;
    }
}

/* What the library cleans up where word pieces are put together, in each piece for itself. */
static const struct {
    const char *from, *to;
} cleaned[] = {{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"}, {" 'm", "'m"},
               {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};

/* Write a piece, with a space before it if `spaced`. */
static void put_cleaned(output *out, const char *at, count length, int spaced)
{
    for (count i = -spaced; i < length;) { /* the space stands at -1 */
        count used = 0;
        for (size_t k = 0; k < sizeof cleaned / sizeof *cleaned && !used; k++) {
            const char *from = cleaned[k].from;
            count n = 0;
            while (from[n] && i + n < length && (i + n < 0 ? ' ' : at[i + n]) == from[n])
                n++;
            if (from[n])
                continue;
            put(out, cleaned[k].to, (count)strlen(cleaned[k].to));
            used = n;
        }
        if (!used)
            put(out, i < 0 ? " " : at + i, 1);
        i += used ? used : 1;
    }
}

static void put_word_piece(output *out, const char *at, count length)
{
    const tokenizer *t = out->t;
    const count prefix = t->shown_prefix.length;
    const int later = out->p.begun;
    const int joins = later && length >= prefix && memcmp(at, t->bytes + t->shown_prefix.start, (size_t)prefix) == 0;
    if (joins)
        at += prefix, length -= prefix;
    if (t->cleans_up)
        put_cleaned(out, at, length, later && !joins);
    else {
        put(out, " ", later && !joins);
        put(out, at, length);
    }
}

/* U+2581 is a space, or nothing if `drops`. */
static void put_marked(output *out, const char *at, count length, int drops)
{
    for (count i = 0, n; i < length; i += n) {
        const int is_mark = length - i >= 3 && memcmp(at + i, "\xE2\x96\x81", 3) == 0;
        n = is_mark ? 3 : 1;
        put(out, is_mark ? " " : at + i, !(is_mark && drops));
    }
}

static void put_token(output *out, const token *x)
{
    const char *at = out->t->bytes + x->shown.start;
    const count length = x->shown.length;
    const int is_byte = out->t->decoding == AS_BYTES || (out->t->decoding == AS_SENTENCE && x->byte >= 0);
    if (!is_byte) {
        put_broken(out, out->p.length);
        out->p.broken = 0;
    }
    switch (out->t->decoding) {
    case AS_BYTES:
        for (count i = 0; i < length; i++)
            put_byte(out, at[i]);
        break;
    case WITH_SPACES:
        put(out, " ", out->p.begun);
        put(out, at, length);
        break;
    case AS_WORD_PIECES:
        put_word_piece(out, at, length);
        break;
    case AS_SENTENCE:
        if (is_byte)
            put_byte(out, (char)x->byte);
        else
            put_marked(out, at, length, 0);
        return;
    default:
        put_marked(out, at, length, out->t->decoding == AS_LATER_MARKS && !out->p.begun);
    }
    out->p.begun = 1;
}

/* Whether a token has no text: there is none, or it is a special one, but for those of the unknown and of a hole. */
static int is_dropped(const tokenizer *t, int32_t id)
{
    return id >= t->V || t->tokens[id].text.length < 0 ||
           (t->tokens[id].never && id != t->roles[UNK] && id != t->roles[MASK]);
}

/* How many tokens of bytes follow each other at the beginning; `broken`: some of their bytes are no character. */
static count run_of_bytes(const tokenizer *t, const int32_t *ids, count number, int *broken)
{
    char bytes[4];
    int length = 0;
    count n = 0;
    uint32_t code;
    *broken = 0;
    for (; n < number; n++) {
        if (is_dropped(t, ids[n]))
            continue;
        if (t->tokens[ids[n]].byte < 0)
            break;
        bytes[length++] = (char)t->tokens[ids[n]].byte;
        const int found = utf8(bytes, bytes + length, &code);
        *broken |= found < 0;
        length = found ? 0 : length;
    }
    *broken |= length > 0;
    return n;
}

/* Decode ids into `text`, without a zero after it, and return its bytes; with `text` NULL only count them. Special
   tokens but UNK and MASK, and ids that the vocabulary lacks, are dropped. In a stream of tokens, `rest` keeps the
   bytes of a character whose last are still to come for the next call; a call without ids ends it. A character cut by
   the end, which with `rest` NULL is that of the ids, is written as U+FFFD. The library makes U+FFFD of all bytes of a
   row of tokens for bytes of which some are no character; a stream has already written those before the first of
   these. */
count decode_tokens(const tokenizer *t, const int32_t *ids, count number, partial *rest, char *text)
{
    output out = {t, text, 0, rest ? *rest : (partial){{0}, 0, 0, 0, 0}};
    count checked = rest ? number : 0;
    int broken = 0;
    for (count i = 0; i < number; i++) {
        if (is_dropped(t, ids[i]))
            continue;
        const token *x = t->tokens + ids[i];
        const int is_byte = t->decoding == AS_SENTENCE && x->byte >= 0;
        if (is_byte && i >= checked)
            checked = i + run_of_bytes(t, ids + i, number - i, &broken);
        if (is_byte && broken)
            put(&out, replacement, sizeof replacement - 1);
        else
            put_token(&out, x);
    }
    if (!rest || !number)
        put_broken(&out, out.p.length);
    if (rest && text)
        *rest = out.p;
    return out.length;
}
