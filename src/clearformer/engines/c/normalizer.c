/* BERT's normalizer, a space before a text, and U+2581, which stands for a space in SentencePiece's tokens. */

#include "normalizer.h"
#include "characters.h"

static const char mark[] = "\xE2\x96\x81"; /* U+2581 */
enum { MARK_LENGTH = sizeof mark - 1 };

/* Whether a change is one that the library makes before it looks for tokens that are to be normalized. */
int is_normalizer(int change)
{
    return change == AS_BERT || change == MARK_ALWAYS;
}

/* A character in the order in which BERT's normalizer changes it: cleaned, between spaces, without accents, lower. */
static count put_as_bert(const tokenizer *t, uint32_t code, char *to)
{
    uint32_t bare[3] = {code}, small[3];
    count n = 0;
    if (t->cleans && is_removed(code))
        return 0;
    if (t->cleans && classes_of(code) == SPACE_LIKE)
        bare[0] = code = ' ';
    const int spaced = t->spaces_chinese && is_chinese(code);
    const int length = t->strips_accents ? strip_accents(code, bare) : 1;
    to[n] = ' ';
    n += spaced;
    for (int i = 0; i < length; i++) {
        small[0] = bare[i];
        const int letters = t->lowers ? lower(bare[i], small) : 1;
        for (int k = 0; k < letters; k++)
            n += utf8_of(small[k], to + n);
    }
    to[n] = ' ';
    return n + spaced;
}

static count put_mark(char *to)
{
    memcpy(to, mark, MARK_LENGTH);
    return MARK_LENGTH;
}

static int has_mark(const char *at, const char *end)
{
    return *at == ' ' || (end - at >= MARK_LENGTH && memcmp(at, mark, MARK_LENGTH) == 0);
}

/* Write a text that is not empty as the tokenizer changes it, of at most EXPANSION times its bytes, into `to`. Returns
   its bytes. */
count change_text(const tokenizer *t, const char *at, const char *end, int is_first, char *to)
{
    const int change = t->change;
    count n = 0;
    uint32_t code;
    if (change == AS_BERT) {
        for (; at < end; n += put_as_bert(t, code, to + n))
            at = next_code(at, end, &code);
        return n;
    }
    if (change == SPACE_BEFORE && *at != ' ')
        to[n++] = ' ';
    const int begins = change == MARK_BEFORE || (change == MARK_BEFORE_FIRST && is_first);
    if (change == MARK_ALWAYS || (begins && !has_mark(at, end)))
        n += put_mark(to);
    for (; at < end; at++)
        if (*at == ' ' && change >= MARKED)
            n += put_mark(to + n);
        else
            to[n++] = *at;
    return n;
}
