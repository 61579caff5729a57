/* Clusters of characters that are seen as one. */

#ifndef GRAPHEMES_H
#define GRAPHEMES_H

/* What a character is in a cluster; the first ones are the numbers of unicode.h, and Hangul's syllables are computed. */
enum {
    ORDINARY, CONTROL, PREPENDED, EXTENDING, NON_JOINER, JOINER, LINKER, SPACING, PICTURE, CONSONANT, LEADING_JAMO,
    VOWEL_JAMO, TRAILING_JAMO, OPEN_SYLLABLE, CLOSED_SYLLABLE
};

const char *cluster_end(const char *at, const char *end);

#endif
