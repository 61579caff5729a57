/* The steps of a normalizer, a space before a text, and the mark U+2581, which stands for a space in SentencePiece's
   tokens. */

#include "normalizer.h"
#include "added.h"
#include "canonical.h"
#include "characters.h"
#include "charsmap.h"

static const char mark[] = "\xE2\x96\x81";

/* A character in the order in which BERT's normalizer changes it: cleaned, between spaces, without accents, lower. */
static count put_as_bert(const tokenizer *t, uint32_t code, char *to)
{
    uint32_t bare[MOST_PARTS] = {code}, small[3];
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

/* Put `by` in the place of rows of at least so many spaces; of one, in that of each space. */
static count put_for_spaces(const char *at, const char *end, count spaces, const char *by, char *to)
{
    const count length = (count)strlen(by);
    count n = 0;
    while (at < end) {
        const char *next = at;
        while (next < end && *next == ' ' && (spaces > 1 || next == at))
            next++;
        if (next - at >= spaces) {
            memcpy(to + n, by, (size_t)length);
            n += length;
            at = next;
        } else {
            to[n++] = *at++;
        }
    }
    return n;
}

/* Write what one step makes of a text, which may be empty, into `to`. Returns its bytes. */
static count take_step(const tokenizer *t, int step, const char *at, const char *end, char *to)
{
    count n = 0;
    uint32_t code;
    switch (step) {
    case AS_BERT:
        for (; at < end; n += put_as_bert(t, code, to + n))
            at = next_code(at, end, &code);
        return n;
    case COMPOSE:
    case DECOMPOSE:
        return put_canonical(at, end, step == COMPOSE, to);
    case REPLACE_CHARACTERS:
        return replace_characters(&t->replacements, at, end, to);
    case JOIN_SPACES:
        return put_for_spaces(at, end, 2, " ", to);
    case MARK_ROWS_OF_SPACES:
        return put_for_spaces(at, end, 2, mark, to);
    case MARK_SPACES:
        return put_for_spaces(at, end, 1, mark, to);
    case STRIP_LEFT:
        at = without_space_behind(at, end);
        break;
    case STRIP_RIGHT:
        end = without_space_before(at, end);
        break;
    default:
        n = at < end ? put_mark(to) : 0;
    }
    memcpy(to + n, at, (size_t)(end - at));
    return n + (end - at);
}

/* Write a text that is not empty as the normalizer changes it, of at most `expansion` times its bytes, into `to`;
   `spare` has as much room, for what is between two steps. Returns the bytes. */
count normalize(const tokenizer *t, const char *at, const char *end, char *to, char *spare)
{
    count n = end - at;
    for (int i = 0; i < t->number_of_steps; i++) {
        char *const target = (t->number_of_steps - i) % 2 ? to : spare;
        n = take_step(t, t->steps[i], at, at + n, target);
        at = target;
    }
    return n;
}

/* Write a text that is not empty as it is cut into pieces, of at most `expansion` times its bytes, into `to`. Returns
   its bytes. */
count change_text(const tokenizer *t, const char *at, const char *end, int is_first, char *to)
{
    const int change = t->change;
    count n = 0;
    if (change == SPACE_BEFORE && *at != ' ')
        to[n++] = ' ';
    const int begins = change == MARK_BEFORE || (change == MARK_BEFORE_FIRST && is_first);
    if (begins && !has_mark(at, end))
        n += put_mark(to);
    for (; at < end; at++)
        if (*at == ' ' && change >= MARKED)
            n += put_mark(to + n);
        else
            to[n++] = *at;
    return n;
}
