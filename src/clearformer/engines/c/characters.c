/* Classes of characters and what becomes of them, by the lists of unicode.h. */

#include "characters.h"
#include "unicode.h"

enum { MAPPING = 4 }; /* a code point, and what it becomes */
enum { HANGUL = 0xAC00, SYLLABLES = 11172, LEADING = 0x1100, VOWEL = 0x1161, TRAILING = 0x11A7 };
enum { VOWELS = 21, TAILS = 28 };

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

/* What a character becomes in a list of n mappings, in order: returns how many characters. */
static int mapped(const int32_t *list, count n, uint32_t code, uint32_t *to)
{
    int length = 0;
    to[0] = code;
    for (count first = 0; first < n;) {
        const count middle = (first + n) / 2;
        const int32_t *found = list + MAPPING * middle;
        if ((uint32_t)*found == code) {
            while (length < MAPPING - 1 && found[1 + length])
                to[length] = (uint32_t)found[1 + length], length++;
            return length;
        }
        first = (uint32_t)*found < code ? middle + 1 : first;
        n = (uint32_t)*found < code ? n : middle;
    }
    return 1;
}

#define MAPPED(list, code, to) mapped(list, sizeof list / sizeof *list / MAPPING, code, to)

/* A character decomposed, without accents, in `to`, of three: returns how many characters. */
int strip_accents(uint32_t code, uint32_t *to)
{
    if (WITHIN(accent_borders, code))
        return 0;
    if (code < HANGUL || code >= HANGUL + SYLLABLES)
        return MAPPED(without_accents, code, to);
    const uint32_t syllable = code - HANGUL;
    to[0] = LEADING + syllable / (VOWELS * TAILS);
    to[1] = VOWEL + syllable / TAILS % VOWELS;
    to[2] = TRAILING + syllable % TAILS;
    return syllable % TAILS ? 3 : 2;
}

/* A character in lower case, in `to`, of three: returns how many characters. */
int lower(uint32_t code, uint32_t *to)
{
    return MAPPED(lower_case, code, to);
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
