/* Encoding and decoding.

   A text is cut into pieces, which by the kind of tokenizer are single characters, what PIECE of
   `clearformer.data.tokenizers` matches (a word or punctuation with the space before it, a newline, other white space),
   or, of numbers, what stands between white space, which is dropped, and a space is put between them again.
   A piece is one token of the vocabulary; in byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) its bytes are
   tokens first, and two neighbours become one token as long as the vocabulary has a merge for any: the one of lowest
   rank first, of equal ones the leftmost. */

#include "tokenizer.h"
#include "json.h"
#include "unicode.h"

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

enum { SPACE_LIKE = 1, WORD_LIKE = 2, OTHER = 4 };

/* The classes of a character: \s, \w, [^\s\w]; some are of the last two. */
static int classes_of(uint32_t code)
{
    if (WITHIN(space_borders, code))
        return SPACE_LIKE;
    if (!WITHIN(word_borders, code))
        return OTHER;
    return WITHIN(both_borders, code) ? WORD_LIKE | OTHER : WORD_LIKE;
}

/* The character at `at` of text that is UTF-8: returns where the next begins. */
static const char *next_character(const char *at, const char *end, int *classes, uint32_t *code)
{
    at += utf8(at, end, code);
    *classes = classes_of(*code);
    return at;
}

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

/* Where the piece that begins at `at` ends. */
static const char *piece_end(int kind, const char *at, const char *end)
{
    int classes, next_classes;
    uint32_t code, next_code;
    if (kind == CHARACTER)
        return at + utf8(at, end, &code);
    const char *last = at, *next = next_character(at, end, &classes, &code);
    if (kind == NUMBER) {
        for (const char *after; next < end; next = after) {
            after = next_character(next, end, &next_classes, &next_code);
            if ((classes ^ next_classes) & SPACE_LIKE)
                break;
        }
        return next;
    }
    if (code == '\n')
        return next;
    if (code == ' ' && next < end) {
        const char *after = next_character(next, end, &next_classes, &next_code);
        if (next_classes != SPACE_LIKE) {
            classes = next_classes;
            next = after;
        }
    }
    const int run = classes & SPACE_LIKE ? SPACE_LIKE : classes & WORD_LIKE ? WORD_LIKE : OTHER;
    while (next < end) {
        const char *after = next_character(next, end, &next_classes, &next_code);
        if (!(next_classes & run) || next_code == '\n') /* before text, white space leaves its last character to it */
            return run == SPACE_LIKE && next_classes != SPACE_LIKE && last > at ? last : next;
        last = next;
        next = after;
    }
    return next;
}

/* The slot with the id of these bytes, or the empty one where it would be. */
int32_t *find_id(const tokenizer *t, const char *at, count length)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (count i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)at[i]) * 16777619u;
    for (;; hash++) {
        int32_t *slot = t->ids.slots + (hash & (t->ids.size - 1));
        const token *found = *slot < 0 ? NULL : t->tokens + *slot;
        if (!found || (found->length == length && memcmp(t->bytes + found->start, at, (size_t)length) == 0))
            return slot;
    }
}

/* The slot with the rank of the merge of two tokens, or the empty one where it would be. */
int32_t *find_rank(const tokenizer *t, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    uint32_t hash = (uint32_t)(pair * 0x9E3779B97F4A7C15u >> 32); /* 2^64 over the golden ratio */
    for (;; hash++) {
        int32_t *slot = t->ranks.slots + (hash & (t->ranks.size - 1));
        if (*slot < 0 || (t->merges[*slot].left == left && t->merges[*slot].right == right))
            return slot;
    }
}

/* The merges that a piece still offers: a heap of `rank << 32 | place of the left token`, the least on top. */
typedef struct {
    uint64_t *items;
    count length;
} heap;

static void push(heap *h, uint64_t item)
{
    count at = h->length++;
    for (; at > 0 && h->items[(at - 1) / 2] > item; at = (at - 1) / 2)
        h->items[at] = h->items[(at - 1) / 2];
    h->items[at] = item;
}

static uint64_t pop(heap *h)
{
    const uint64_t top = h->items[0], item = h->items[--h->length];
    count at = 0;
    for (count child; (child = 2 * at + 1) < h->length; at = child) {
        if (child + 1 < h->length && h->items[child + 1] < h->items[child])
            child++;
        if (h->items[child] >= item)
            break;
        h->items[at] = h->items[child];
    }
    h->items[at] = item;
    return top;
}

static void offer(const tokenizer *t, heap *h, const int32_t *ids, count left, count right)
{
    const int32_t rank = *find_rank(t, ids[left], ids[right]);
    if (rank >= 0)
        push(h, (uint64_t)rank << 32 | (uint32_t)left);
}

/* Merge n tokens in place and return how many remain. `memory` holds a list of places, linked both ways, and the heap:
   n - 1 pairs to begin with, and each merge adds at most one more than it takes. */
static count merge_tokens(const tokenizer *t, count n, int32_t *ids, char *memory)
{
    heap h = {(uint64_t *)memory, 0};
    int32_t *next = (int32_t *)(h.items + 2 * n), *before = next + n;
    count kept = 0;
    for (count i = 0; i < n; i++) {
        next[i] = (int32_t)i + 1;
        before[i] = (int32_t)i - 1;
        if (i + 1 < n)
            offer(t, &h, ids, i, i + 1);
    }
    while (h.length) {
        const uint64_t item = pop(&h);
        const merge *m = t->merges + (item >> 32);
        const count left = (count)(item & UINT32_MAX), right = next[left];
        if (ids[left] != m->left || right == n || ids[right] != m->right)
            continue; /* one of the two has been merged with another since */
        ids[left] = m->merged;
        ids[right] = -1;
        next[left] = next[right];
        if (before[left] >= 0)
            offer(t, &h, ids, before[left], left);
        if (next[left] < n) {
            before[next[left]] = (int32_t)left;
            offer(t, &h, ids, left, next[left]);
        }
    }
    for (count i = 0; i < n; i = next[i])
        ids[kept++] = ids[i];
    return kept;
}

/* Encode `length` bytes of text, less than 2 GB, into `ids`, of room for as many, and return their number; -1 if the
   text is not UTF-8. Special tokens in it are plain text; a piece that the vocabulary lacks becomes UNK. With `memory`
   NULL: the bytes of memory that it needs, aligned to 8. No piece goes on after a newline, so that a long text can be
   encoded line by line. */
count encode_text(const tokenizer *t, const char *text, count length, int32_t *ids, char *memory)
{
    const char *const end = text + length;
    uint32_t code;
    count n = 0;
    if (!memory)
        return length * (count)(2 * sizeof(uint64_t) + 2 * sizeof(int32_t));
    for (const char *at = text; at < end;) {
        const int bytes = utf8(at, end, &code);
        if (bytes <= 0)
            return -1;
        at += bytes;
    }
    for (const char *at = text, *next; at < end; at = next) {
        next = piece_end(t->kind, at, end);
        if (t->kind == NUMBER && is_blank(at, next - at))
            continue;
        if (t->kind == BPE) {
            for (count i = 0; i < next - at; i++)
                ids[n + i] = t->byte_tokens[(unsigned char)at[i]];
            n += merge_tokens(t, next - at, ids + n, memory);
        } else {
            const int32_t id = *find_id(t, at, next - at);
            ids[n++] = id < 0 ? UNK : id;
        }
    }
    return n;
}

/* What decoding writes; with `text` NULL it only counts. */
typedef struct {
    char *text;
    count length;
} output;

static void put(output *out, const char *bytes, count n)
{
    if (out->text)
        memcpy(out->text + out->length, bytes, (size_t)n);
    out->length += n;
}

/* Write a character when its last byte has come, and U+FFFD for bytes that cannot become one. */
static void put_byte(output *out, partial *p, char byte)
{
    uint32_t code;
    p->bytes[p->length++] = byte;
    for (int bytes; p->length && (bytes = utf8(p->bytes, p->bytes + p->length, &code));) {
        const int used = bytes > 0 ? bytes : -bytes;
        put(out, bytes > 0 ? p->bytes : "\xEF\xBF\xBD", bytes > 0 ? bytes : 3);
        p->length = (int16_t)(p->length - used);
        memmove(p->bytes, p->bytes + used, (size_t)p->length);
    }
}

/* Decode ids into `text`, without a zero after it, and return its bytes; with `text` NULL only count them. PAD, BOS,
   EOS and ids that the vocabulary lacks are dropped. In a stream of tokens, `rest` keeps the bytes of a character whose
   last are still to come for the next call; a call without ids ends it. A character cut by the end, which with `rest`
   NULL is that of the ids, is written as U+FFFD. */
count decode_tokens(const tokenizer *t, const int32_t *ids, count number, partial *rest, char *text)
{
    output out = {text, 0};
    partial p = rest ? *rest : (partial){{0}, 0, 0};
    for (count i = 0; i < number; i++) {
        if (ids[i] <= EOS || ids[i] >= t->V)
            continue;
        const token *x = t->tokens + ids[i];
        if (t->kind == NUMBER && p.begun)
            put(&out, " ", 1);
        p.begun = 1;
        for (count b = 0; b < x->length; b++)
            put_byte(&out, &p, t->bytes[x->start + b]);
    }
    if (p.length && (!rest || !number)) {
        put(&out, "\xEF\xBF\xBD", 3);
        p.length = 0;
    }
    if (rest && text)
        *rest = p;
    return out.length;
}
