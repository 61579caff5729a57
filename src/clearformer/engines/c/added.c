/* Finding added tokens in a text, as the `tokenizers` package does: the first, of those the longest. */

#include "added.h"
#include "characters.h"

static const added_token *longest_at(const tokenizer *t, int normalized, const char *at, const char *end)
{
    const added_token *longest = NULL;
    for (int32_t i = 0; i < t->number_of_added; i++) {
        const added_token *x = t->added + i;
        const char *text = t->bytes + x->sought.start;
        if (x->normalized == normalized && x->sought.length <= end - at && *text == *at &&
            memcmp(text, at, (size_t)x->sought.length) == 0 && (!longest || x->sought.length > longest->sought.length))
            longest = x;
    }
    return longest;
}

/* Whether no word goes on before `first` or behind `last`. */
static int is_alone(const search *s, const char *first, const char *last)
{
    uint32_t code;
    if (first > s->text && (last_code(s->text, first, &code), classes_of(code) == WORD_LIKE))
        return 0;
    return last == s->end || (next_code(last, s->end, &code), classes_of(code) != WORD_LIKE);
}

/* Up to where white space before `at` begins, but not before `start`. */
const char *without_space_before(const char *start, const char *at)
{
    uint32_t code;
    for (const char *before; at > start; at = before) {
        before = last_code(start, at, &code);
        if (classes_of(code) != SPACE_LIKE)
            break;
    }
    return at;
}

const char *without_space_behind(const char *at, const char *end)
{
    uint32_t code;
    for (const char *after; at < end; at = after) {
        after = next_code(at, end, &code);
        if (classes_of(code) != SPACE_LIKE)
            break;
    }
    return at;
}

/* The next token, of those that are to be normalized or of the others; the search goes on behind it. */
found_token next_added(const tokenizer *t, int normalized, search *s)
{
    const char *const used = s->used;
    while (s->at < s->end) {
        const added_token *x = longest_at(t, normalized, s->at, s->end);
        const char *const first = s->at;
        s->at += x ? x->sought.length : 1;
        if (!x || (x->single_word && !is_alone(s, first, s->at)))
            continue;
        s->used = x->rstrip ? without_space_behind(s->at, s->end) : s->at;
        return (found_token){x, x->lstrip ? without_space_before(used, first) : first};
    }
    s->used = s->end;
    return (found_token){NULL, s->end};
}
