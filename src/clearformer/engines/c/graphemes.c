/* Where a cluster of characters that are seen as one ends: extended grapheme clusters (Unicode Standard Annex 29), but
   for flags, whose two characters are two clusters here: replacing (charsmap.c) asks only about clusters of less than
   six bytes, and those of a flag are more, alone and with an accent. */

#include "graphemes.h"
#include "characters.h"

/* What a cluster has come to: `last` in it; a picture, and a picture and a joiner; a consonant, and one that is to be
   linked with the next. */
typedef struct {
    int last, picture, consonant;
} cluster;
enum { NONE, BEGUN, LINKED };

static void extend(cluster *c, int kind)
{
    const int extends = kind == EXTENDING || kind == LINKER || kind == NON_JOINER;
    c->picture = kind == PICTURE ? BEGUN : !c->picture ? NONE : kind == JOINER ? LINKED * (c->picture == BEGUN)
               : extends && c->picture == BEGUN ? BEGUN : NONE;
    c->consonant = kind == CONSONANT ? BEGUN : c->consonant && kind == LINKER ? LINKED
                 : kind == EXTENDING || kind == JOINER ? c->consonant : NONE;
    c->last = kind;
}

static int is_syllable(int last, int kind)
{
    return last == LEADING_JAMO ? kind == LEADING_JAMO || kind == VOWEL_JAMO || kind >= OPEN_SYLLABLE
         : last == VOWEL_JAMO || last == OPEN_SYLLABLE ? kind == VOWEL_JAMO || kind == TRAILING_JAMO
         : (last == TRAILING_JAMO || last == CLOSED_SYLLABLE) && kind == TRAILING_JAMO;
}

static int goes_on(const cluster *c, int kind)
{
    if (c->last == CONTROL || kind == CONTROL)
        return 0;
    return (kind >= EXTENDING && kind <= SPACING) || c->last == PREPENDED || is_syllable(c->last, kind) ||
           (kind == PICTURE && c->picture == LINKED) || (kind == CONSONANT && c->consonant == LINKED);
}

/* Where the cluster that begins at `at` ends, in text that is UTF-8. */
const char *cluster_end(const char *at, const char *end)
{
    cluster c = {ORDINARY, NONE, NONE};
    uint32_t code;
    const int is_return = *at == '\r';
    at = next_code(at, end, &code);
    if (is_return && at < end && *at == '\n')
        return at + 1;
    extend(&c, grapheme_kind(code));
    for (const char *next; at < end; at = next) {
        if ((unsigned char)*at < 0x80 && c.last != PREPENDED)
            break;
        next = next_code(at, end, &code);
        const int kind = grapheme_kind(code);
        if (!goes_on(&c, kind))
            break;
        extend(&c, kind);
    }
    return at;
}
