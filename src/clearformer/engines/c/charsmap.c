/* SentencePiece's table of replacements, which T5, mT5 and XLM-R have, as the `tokenizers` package uses it.

   In base64 it is the bytes of a trie, the trie, and the replacements, each with a zero behind it. The trie is a double
   array (Aoe 1989, in the form of darts-clone): a unit of 32 bits has the byte that leads to it, at bit 8 whether a key
   ends there, and from bit 10 on, in 256s if bit 9 is set, what its place xor gives that of its children: the child of
   byte c is there xor c, and that of 0 holds, below bit 31, where the replacement begins.

   A cluster of less than six bytes is replaced as a whole, a longer one character by character; and of the keys with
   which either begins the shortest one counts, so that what stands behind it is lost. */

#include "charsmap.h"
#include "characters.h"
#include "graphemes.h"
#include "matching.h"

enum { LONGEST_WHOLE = 5, UNIT = 4, BLOCK = 256, ENDS = 1 << 8, SPACE_WEIGHT = 3, MOST_VISITED = 1 << 18 };
static const uint32_t leaf = UINT32_C(1) << 31;

static uint32_t number_at(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;
    return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
}

static uint32_t unit_at(const charsmap *m, uint32_t place)
{
    return number_at(m->trie + (count)UNIT * place);
}

static uint32_t offset_of(uint32_t unit)
{
    return (unit >> 10) << (unit & 1 << 9 ? 8 : 0);
}

/* Whether a unit is the one that a byte leads to. */
static int is_of(uint32_t unit, unsigned char byte)
{
    return (unit & (leaf | 0xFF)) == byte;
}

/* What replaces a text, by the shortest key that it begins with; NULL: nothing does. */
static const char *replacement_of(const charsmap *m, const char *at, const char *end)
{
    uint32_t place = offset_of(unit_at(m, 0));
    for (; at < end && *at; at++) {
        place ^= (unsigned char)*at;
        const uint32_t unit = unit_at(m, place);
        if (!is_of(unit, (unsigned char)*at))
            return NULL;
        place ^= offset_of(unit);
        if (unit & ENDS)
            return m->replacements + (unit_at(m, place) & ~leaf);
    }
    return NULL;
}

static count put(char *to, const char *at, count length)
{
    memcpy(to, at, (size_t)length);
    return length;
}

/* Write a text with its characters replaced, of at most MOST_GROWTH times its bytes, into `to`. Returns its bytes. */
count replace_characters(const charsmap *m, const char *at, const char *end, char *to)
{
    count n = 0;
    uint32_t code;
    for (const char *next, *found; at < end;) {
        next = cluster_end(at, end);
        found = next - at <= LONGEST_WHOLE ? replacement_of(m, at, next) : NULL;
        if (found) {
            n += put(to + n, found, (count)strlen(found));
            at = next;
        }
        for (const char *after; at < next; at = after) {
            after = next_code(at, next, &code);
            found = replacement_of(m, at, after);
            n += found ? put(to + n, found, (count)strlen(found)) : put(to + n, at, after - at);
        }
    }
    return n;
}

/* Whether a replacement begins where characters do, and does not grow too much from a key of so many bytes. */
static int is_replacement(const charsmap *m, uint32_t place, count bytes)
{
    count weight = 0;
    if (place > m->length || (m->replacements[place] & 0xC0) == 0x80)
        return 0;
    for (const char *at = m->replacements + place; *at && weight <= MOST_GROWTH * bytes; at++)
        weight += (*at >= '\t' && *at <= '\r') || *at == ' ' ? SPACE_WEIGHT : *at == '\xC2' ? SPACE_WEIGHT - 1 : 1;
    return weight <= MOST_GROWTH * bytes;
}

/* Whether all that replacement_of can come to behind a unit, of a key's first bytes, is in the table. Keys may share
   units; what has more than `left` of them on its ways goes in circles. */
static int is_sound(const charsmap *m, uint32_t place, int bytes, count *left)
{
    const uint32_t unit = unit_at(m, place), children = place ^ offset_of(unit);
    if (children / BLOCK >= m->units / BLOCK || --*left < 0)
        return 0;
    if (bytes && unit & ENDS)
        return is_replacement(m, unit_at(m, children) & ~leaf, bytes);
    for (uint32_t byte = 1; byte < BLOCK && bytes < LONGEST_WHOLE; byte++)
        if (is_of(unit_at(m, children ^ byte), (unsigned char)byte) && !is_sound(m, children ^ byte, bytes + 1, left))
            return 0;
    return 1;
}

/* The six bits that a character of base64 stands for; -1: none. */
static int bits_of(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decode base64 in place. Returns the bytes; -1: it is none, or has bits behind its last byte. */
static count from_base64(char *text, count length)
{
    uint32_t bits = 0;
    count n = 0, used = 0;
    if (length < 0 || length % 4)
        return -1;
    const count letters = length && text[length - 1] == '=' ? length - 1 - (text[length - 2] == '=') : length;
    for (; used < letters; used++) {
        const int found = bits_of(text[used]);
        if (found < 0)
            return -1;
        bits = bits << 6 | (uint32_t)found;
        if (used % 4)
            text[n++] = (char)(bits >> (6 - 2 * (used % 4)));
    }
    return letters == length || !(bits & (letters % 4 == 3 ? 3 : 15)) ? n : -1;
}

/* Read a table from base64 into the memory at its trie, of room for the text. */
int read_charsmap(charsmap *m, json text, char *fault)
{
    char *const memory = m->trie;
    const count bytes = from_base64(memory, json_string(text, memory, text.end - text.at));
    const count size = bytes < UNIT ? 0 : number_at(memory) / UNIT * UNIT, length = bytes - UNIT - size;
    uint32_t code;
    if (size < UNIT * BLOCK || length < 0)
        return explain(fault, "a precompiled_charsmap of SentencePiece's was expected, found %j" AGAIN, text);
    *m = (charsmap){memory + UNIT, memory + UNIT + size, (uint32_t)(size / UNIT), (uint32_t)length};
    const char *at = m->replacements, *const end = at + length;
    memory[bytes] = 0;
    for (int n = 1; at < end && n > 0; at += larger(n, 0))
        n = utf8(at, end, &code);
    count left = MOST_VISITED;
    return (at == end && is_sound(m, 0, 0, &left)) ||
           explain(fault, "a precompiled_charsmap of tables in order was expected, found %j" AGAIN, text);
}
