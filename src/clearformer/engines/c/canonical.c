/* The normalization forms of Unicode (Standard Annex 15), in which a character has one spelling: NFD decomposes all and
   puts accents into the order of their classes; NFC composes what comes of it again. */

#include "canonical.h"
#include "characters.h"

/* The bytes that begin U+00C0 and U+0300: no character before the first is decomposed, and none before the second is
   changed, if none from there on follows. */
enum { FIRST_COMPOSED = 0xC3, FIRST_COMBINING = 0xCC };

static count put_decomposed(const char *at, const char *end, char *to)
{
    uint32_t code, parts[MOST_PARTS];
    count n = 0;
    while (at < end) {
        at = next_code(at, end, &code);
        const int length = decompose(code, parts);
        for (int i = 0; i < length; i++)
            n += utf8_of(parts[i], to + n);
    }
    return n;
}

/* Put the characters of a text, none of class 0, into the order of their classes, those of one class as they come;
   `spare` has as much room. Each pass takes one class, the least that is left. */
static void order_run(char *at, const char *end, char *spare)
{
    const count length = end - at;
    uint32_t code;
    memcpy(spare, at, (size_t)length);
    for (int class = 0, next = 0; at < end; class = next) {
        next = 256;
        for (const char *x = spare, *after; x < spare + length; x = after) {
            after = next_code(x, spare + length, &code);
            const int found = combining_class(code);
            if (found > class && found < next)
                next = found;
            if (found != class)
                continue;
            memcpy(at, x, (size_t)(after - x));
            at += after - x;
        }
    }
}

/* Put all accents into order; behind `end` is room for them once more. */
static void order(char *at, char *end)
{
    uint32_t code;
    while (at < end) {
        char *const start = at;
        int last = 0, ordered = 1;
        for (const char *next; at < end; at += next - at) {
            next = next_code(at, end, &code);
            const int class = combining_class(code);
            if (!class)
                break;
            ordered &= class >= last;
            last = class;
        }
        if (!ordered)
            order_run(start, at, end);
        if (at == start)
            at += next_code(at, end, &code) - at;
    }
}

/* Compose in place what is in order, and return the bytes. A character goes with the last of class 0 before it, unless
   one between them, which has not gone, is of no lower class. No character is longer than what it is composed of. */
static count compose_text(char *text, count length)
{
    const char *const end = text + length;
    char *first = NULL, *to = text;
    uint32_t base = 0, code;
    int last = 0;
    for (const char *at = text, *next; at < end; at = next) {
        next = next_code(at, end, &code);
        const int class = combining_class(code), adjacent = first && last < 0;
        const uint32_t whole = first && (adjacent || last < class) ? compose(base, code) : 0;
        if (whole) {
            char bytes[4];
            const count before = next_code(first, to, &base) - first, after = utf8_of(whole, bytes);
            memmove(first + after, first + before, (size_t)(to - first - before));
            memcpy(first, bytes, (size_t)after);
            to += after - before;
            base = whole;
            continue;
        }
        if (!class)
            first = to, base = code;
        last = class ? class : -1;
        memmove(to, at, (size_t)(next - at));
        to += next - at;
    }
    return to - text;
}

/* Write a text in NFC, or in NFD, into `to`, of room for six times its bytes: three for what it becomes, and three to
   put accents into order. Returns the bytes. */
count put_canonical(const char *at, const char *end, int composes, char *to)
{
    const unsigned char changed = composes ? FIRST_COMBINING : FIRST_COMPOSED;
    count n = 0;
    uint32_t code;
    while (at < end) {
        const char *plain = at;
        while (plain < end && (unsigned char)*plain < changed)
            plain++;
        if (plain < end && plain > at)
            plain = last_code(at, plain, &code); /* which may take what follows */
        memcpy(to + n, at, (size_t)(plain - at));
        n += plain - at;
        at = plain;
        const char *next = at < end ? next_code(at, end, &code) : end;
        while (next < end && (unsigned char)*next >= changed)
            next = next_code(next, end, &code);
        const count length = put_decomposed(at, next, to + n);
        order(to + n, to + n + length);
        n += composes ? compose_text(to + n, length) : length;
        at = next;
    }
    return n;
}
