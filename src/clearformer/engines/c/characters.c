/* Classes of characters and what becomes of them, by the lists of unicode.h. */

#include "characters.h"
#include "graphemes.h"
#include "unicode.h"

enum { MAPPING = 4, DECOMPOSITION = 3 }; /* a code point, and what it becomes */
enum { HANGUL = 0xAC00, SYLLABLES = 11172, LEADING = 0x1100, VOWEL = 0x1161, TRAILING = 0x11A7 };
enum { LEADINGS = 19, VOWELS = 21, TAILS = 28 };

/* Whether an odd number of the n borders, in order, are not above a code point. */
static int within(const int32_t *borders, count n, uint32_t code)
{
    count first = 0;
    while (n > 0) { /* those before `first` are not above it, those from first + n on are */
        const count half = n / 2;
        if ((uint32_t)borders[first + half] > code) {
            n = half;
        } else {
            first += half + 1;
            n -= half + 1;
        }
    }
    return first & 1;
}

#define WITHIN(borders, code) within(borders, sizeof borders / sizeof *borders, code)

int classes_of(uint32_t code)
{
    if (WITHIN(space_borders, code))
        return SPACE_LIKE;
    if (!WITHIN(word_borders, code))
        return OTHER;
    return WITHIN(both_borders, code) ? WORD_LIKE | OTHER : WORD_LIKE;
}

int category_of(uint32_t code)
{
    return WITHIN(space_borders, code) ? WHITE_SPACE : WITHIN(letter_borders, code) ? LETTER
         : WITHIN(number_borders, code) ? DIGIT : MARK_LIKE;
}

int is_punctuation(uint32_t code)
{
    return WITHIN(punctuation_borders, code);
}

/* Whether BERT's normalizer takes a character out of a text, such as one that controls a terminal. */
int is_removed(uint32_t code)
{
    return WITHIN(removed_borders, code);
}

int is_chinese(uint32_t code)
{
    return WITHIN(chinese_borders, code);
}

/* The place of a character in a list of n rows in order, of so many numbers; -1: it has none. */
static count row_of(const int32_t *list, count n, count numbers, uint32_t code)
{
    for (count first = 0; first < n;) {
        const count middle = (first + n) / 2;
        const uint32_t found = (uint32_t)list[numbers * middle];
        if (found == code)
            return middle;
        first = found < code ? middle + 1 : first;
        n = found < code ? n : middle;
    }
    return -1;
}

/* The number that a character has in a list of n steps. */
static int number_of(const uint32_t *list, count n, uint32_t code)
{
    count first = 0;
    while (first < n) {
        const count middle = (first + n) / 2;
        if (list[middle] >> 8 <= code)
            first = middle + 1;
        else
            n = middle;
    }
    return first ? list[first - 1] & 0xFF : 0;
}

#define NUMBER_OF(list, code) number_of(list, sizeof list / sizeof *list, code)

/* Which characters are in a run that is put into order: those of a class that is not 0 (Unicode Standard, 3.11). */
int combining_class(uint32_t code)
{
    return NUMBER_OF(combining_steps, code);
}

/* What decides whether a character is seen as one with others. */
int grapheme_kind(uint32_t code)
{
    return code - HANGUL < SYLLABLES ? (code - HANGUL) % TAILS ? CLOSED_SYLLABLE : OPEN_SYLLABLE
         : NUMBER_OF(grapheme_steps, code);
}

/* A character in its canonical decomposition, in `to`, of MOST_PARTS: returns how many characters. */
int decompose(uint32_t code, uint32_t *to)
{
    to[0] = code;
    if (code - HANGUL < SYLLABLES) {
        const uint32_t syllable = code - HANGUL;
        to[0] = LEADING + syllable / (VOWELS * TAILS);
        to[1] = VOWEL + syllable / TAILS % VOWELS;
        to[2] = TRAILING + syllable % TAILS;
        return syllable % TAILS ? 3 : 2;
    }
    const count row = row_of(decompositions, sizeof decompositions / sizeof *decompositions / DECOMPOSITION,
                             DECOMPOSITION, code);
    if (row < 0)
        return 1;
    const int32_t *parts = decompositions + DECOMPOSITION * row + 1;
    const int length = decompose((uint32_t)parts[0], to);
    to[length] = (uint32_t)parts[1];
    return length + (parts[1] != 0);
}

/* The character that two are composed to; 0: none. */
uint32_t compose(uint32_t code, uint32_t second)
{
    const uint32_t leading = code - LEADING, vowel = second - VOWEL, syllable = code - HANGUL;
    if (leading < LEADINGS && vowel < VOWELS)
        return HANGUL + (leading * VOWELS + vowel) * TAILS;
    if (syllable < SYLLABLES && syllable % TAILS == 0 && second > TRAILING && second < TRAILING + TAILS)
        return code + second - TRAILING;
    for (count first = 0, n = sizeof compositions / sizeof *compositions; first < n;) {
        const count middle = (first + n) / 2;
        const int32_t *row = decompositions + DECOMPOSITION * compositions[middle];
        if ((uint32_t)row[1] == code && (uint32_t)row[2] == second)
            return (uint32_t)row[0];
        const int before = (uint32_t)row[1] < code || ((uint32_t)row[1] == code && (uint32_t)row[2] < second);
        first = before ? middle + 1 : first;
        n = before ? n : middle;
    }
    return 0;
}

/* A character decomposed, without accents, in `to`, of MOST_PARTS: returns how many characters. */
int strip_accents(uint32_t code, uint32_t *to)
{
    const int length = decompose(code, to);
    int kept = 0;
    for (int i = 0; i < length; i++)
        if (!WITHIN(accent_borders, to[i]))
            to[kept++] = to[i];
    return kept;
}

/* A character in lower case, in `to`, of three: returns how many characters. */
int lower(uint32_t code, uint32_t *to)
{
    const count row = row_of(lower_case, sizeof lower_case / sizeof *lower_case / MAPPING, MAPPING, code);
    int length = 0;
    to[0] = code;
    while (row >= 0 && length < MAPPING - 1 && lower_case[MAPPING * row + 1 + length])
        to[length] = (uint32_t)lower_case[MAPPING * row + 1 + length], length++;
    return row < 0 ? 1 : length;
}

/* The character at `at` of text that is UTF-8: returns where the next begins. */
const char *next_code(const char *at, const char *end, uint32_t *code)
{
    return at + utf8(at, end, code);
}

/* The character before `at`, after `start`: returns where it begins. */
const char *last_code(const char *start, const char *at, uint32_t *code)
{
    const char *const end = at--;
    while (at > start && (*at & 0xC0) == 0x80)
        at--;
    utf8(at, end, code);
    return at;
}
