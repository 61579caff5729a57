/* From a piece of text to tokens of the vocabulary.

   In byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) its bytes, or its characters, are tokens first, and
   two neighbours become one token as long as the vocabulary has a merge for any: the one of lowest rank first, of equal
   ones the leftmost. Word pieces (Devlin et al. 2018, arXiv:1810.04805) are the longest ones from left to right. Unigrams
   (Kudo 2018, arXiv:1804.10959) are those whose scores, logarithms of probabilities, have the largest sum. */

#include "subwords.h"

#define EMPTY 2166136261u /* the hash of no bytes */

static uint32_t hash_on(uint32_t hash, const char *at, count length) /* FNV-1a */
{
    for (count i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)at[i]) * 16777619u;
    return hash;
}

/* The slot with the id of the token whose bytes these are, first `before` and then `at`, or the empty one where it
   would be; `hash` is that of the bytes. */
static int32_t *find_joined(const tokenizer *t, uint32_t hash, const char *before, count n, const char *at,
                            count length)
{
    for (;; hash++) {
        int32_t *slot = t->ids.slots + (hash & (t->ids.size - 1));
        const token *found = *slot < 0 ? NULL : t->tokens + *slot;
        const char *bytes = found ? t->bytes + found->text.start : NULL;
        if (!found || (found->text.length == n + length && memcmp(bytes, before, (size_t)n) == 0 &&
                       memcmp(bytes + n, at, (size_t)length) == 0))
            return slot;
    }
}

/* The slot with the id of these bytes, or the empty one where it would be. */
int32_t *find_id(const tokenizer *t, const char *at, count length)
{
    return find_joined(t, hash_on(EMPTY, at, length), "", 0, at, length);
}

/* The token of a side, or else of the other, that these bytes are; UNK if there is none. */
int32_t id_of_sides(const tokenizer *t, const char *at, count length)
{
    const int32_t own = *find_id(t, at, length);
    if (own >= 0 && own < t->V)
        return own;
    const int32_t other = *find_joined(t, hash_on(hash_on(EMPTY, " ", 1), at, length), " ", 1, at, length);
    return other >= 0 ? other : t->unknown;
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

/* The tokens of each byte; a byte of which there is none is left out. Returns their number. */
static count byte_tokens_of(const tokenizer *t, const char *at, const char *end, int32_t *ids)
{
    count n = 0;
    for (; at < end; at++)
        if (t->byte_tokens[(unsigned char)*at] >= 0)
            ids[n++] = t->byte_tokens[(unsigned char)*at];
    return n;
}

/* The tokens of the characters before they are merged: what the vocabulary lacks becomes bytes, or UNK. Of several UNK
   side by side one is left if `fuses_unknown`; bytes of a token do not end such a row, as in the library. */
static count character_tokens_of(const tokenizer *t, const char *at, const char *end, int32_t *ids)
{
    const int32_t unk = t->unknown;
    count n = 0;
    int waiting = 0;
    uint32_t code;
    for (const char *next; at < end; at = next) {
        next = at + utf8(at, end, &code);
        const int32_t id = *find_id(t, at, next - at);
        if (id >= 0) {
            if (waiting)
                ids[n++] = unk;
            waiting = 0;
            ids[n++] = id;
        } else if (t->falls_back && byte_tokens_of(t, at, next, ids + n) == next - at) {
            n += next - at;
        } else if (unk >= 0) {
            if (waiting && !t->fuses_unknown)
                ids[n++] = unk;
            waiting = 1;
        }
    }
    if (waiting)
        ids[n++] = unk;
    return n;
}

/* Of a word with a part that no token begins, UNK is all that is left. */
static count word_pieces_of(const tokenizer *t, const char *at, const char *end, int32_t *ids)
{
    const char *const prefix = t->bytes + t->prefix.start;
    const uint32_t hash = hash_on(EMPTY, prefix, t->prefix.length);
    count n = 0, characters = 0;
    for (const char *x = at; x < end; x++)
        characters += (*x & 0xC0) != 0x80;
    const char *stop = characters > t->most_characters ? at : end;
    while (at < end) {
        const count before = n ? t->prefix.length : 0;
        const char *longest = at;
        for (const char *x = stop; x > at; x--) {
            if (x < end && (*x & 0xC0) == 0x80)
                continue;
            const int32_t id = *find_joined(t, hash_on(before ? hash : EMPTY, at, x - at), prefix, before, at, x - at);
            if (id < 0)
                continue;
            ids[n++] = id;
            longest = x;
            break;
        }
        if (longest == at) {
            ids[0] = t->unknown;
            return t->unknown >= 0;
        }
        at = longest;
    }
    return n;
}

/* The best way to a place of a piece: `score` is the sum of its tokens', the last of which begins at `start`. */
typedef struct {
    double score;
    int32_t start, id;
} path;

static void offer_path(path *to, double score, count start, int32_t id)
{
    if (to->start < 0 || score > to->score)
        *to = (path){score, (int32_t)start, id};
}

/* The paths to all places behind `at`, by the tokens that begin there, of which the first is a character. */
static void extend(const tokenizer *t, const char *text, count at, count length, path *paths)
{
    uint32_t code, hash = EMPTY;
    const count first = utf8(text + at, text + length, &code), most = least(length - at, t->longest);
    int alone = 0;
    for (count n = 1; n <= most; n++) {
        hash = hash_on(hash, text + at + n - 1, 1);
        const int32_t id = *find_joined(t, hash, "", 0, text + at, n);
        if (id < 0)
            continue;
        offer_path(paths + at + n, paths[at].score + t->scores[id], at, id);
        alone |= n == first;
    }
    if (!alone)
        offer_path(paths + at + first, paths[at].score + t->unknown_score, at, t->unknown);
}

/* Viterbi's search; several UNK side by side become one, which may be a token of the other side. */
static count unigrams_of(const tokenizer *t, const char *text, count length, int32_t *ids, char *memory)
{
    path *paths = (path *)memory;
    count n = 0;
    uint32_t code;
    for (count i = 0; i <= length; i++)
        paths[i] = (path){0, i ? -1 : 0, -1};
    for (count at = 0; at < length; at += utf8(text + at, text + length, &code))
        extend(t, text, at, length, paths);
    for (count at = length, start; at > 0; at = start) {
        const int32_t id = paths[at].id;
        start = paths[at].start;
        while (id == t->unknown && start > 0 && paths[start].id == id)
            start = paths[start].start;
        const int known = !t->has_sides || (id != t->unknown && id < t->V);
        ids[n++] = known ? id : id_of_sides(t, text + start, at - start);
    }
    for (count i = 0; i < n / 2; i++) {
        const int32_t other = ids[i];
        ids[i] = ids[n - 1 - i];
        ids[n - 1 - i] = other;
    }
    return n;
}

/* The tokens of a piece, of which there are no more than its bytes. Returns their number. `memory` has ROOM_PER_BYTE
   for each byte and one more. */
count encode_piece(const tokenizer *t, const char *at, const char *end, int32_t *ids, char *memory)
{
    const count length = end - at;
    const int32_t whole = t->kind == BPE && !t->ignores_merges ? -1 : *find_id(t, at, length);
    switch (t->kind) {
    case BPE:
        ids[0] = whole;
        return whole >= 0 ? 1 : merge_tokens(t, byte_tokens_of(t, at, end, ids), ids, memory);
    case CHARACTER_PAIRS:
        ids[0] = whole;
        return t->ignores_merges && whole >= 0 ? 1 : merge_tokens(t, character_tokens_of(t, at, end, ids), ids, memory);
    case WORD_PIECES:
        return word_pieces_of(t, at, end, ids);
    case UNIGRAMS:
        return unigrams_of(t, at, length, ids, memory);
    default:
        ids[0] = whole < 0 ? t->unknown : whole;
        return 1;
    }
}
