/* Cutting a text into pieces, which no token goes beyond.

   clearformer's own   what PIECE of `clearformer.data.tokenizers` matches (a word or punctuation with the space before
                       it, a newline, other white space), single characters, or what stands between white space
   GPT-2               's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
   Llama 3             the pattern of parts.c; Qwen2's is the same with single digits
   BERT                words between white space, and each character of punctuation by itself
   SentencePiece       what begins with U+2581, which stands for a space */

#include "pieces.h"
#include "characters.h"

/* The characters from `at` on, as long as they are of a category, at most `most`. */
static const char *run_of(int category, const char *at, const char *end, count most)
{
    uint32_t code;
    for (const char *next; at < end && most > 0; at = next, most--) {
        next = next_code(at, end, &code);
        if (category_of(code) != category)
            break;
    }
    return at;
}

/* White space as \s+(?!\S)|\s+ has it: before text, it leaves its last character to it, unless it has no other. */
static const char *space_end(const char *at, const char *end)
{
    uint32_t code;
    const char *const next = run_of(WHITE_SPACE, at, end, INT64_MAX);
    const char *const last = next > at ? last_code(at, next, &code) : at;
    return next == end || last == at ? next : last;
}

/* What 's|'t|'re|'ve|'m|'ll|'d matches; `at`: nothing. Without regard to case, U+017F is an s, too. */
static const char *contraction_end(const char *at, const char *end, int any_case)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (*at != '\'')
        return at;
    if (any_case && end - at >= 3 && memcmp(at + 1, "\xC5\xBF", 2) == 0)
        return at + 3;
    for (int i = 0; i < 7; i++) {
        const char *letter = at + 1;
        int n = 0;
        for (; endings[i][n] && letter < end; n++, letter++)
            if ((any_case && *letter >= 'A' && *letter <= 'Z' ? *letter + 32 : *letter) != endings[i][n])
                break;
        if (!endings[i][n])
            return letter;
    }
    return at;
}

static const char *gpt2_end(const char *at, const char *end)
{
    const char *const contraction = contraction_end(at, end, 0);
    uint32_t code;
    if (contraction > at)
        return contraction;
    const char *next = next_code(at, end, &code);
    int category = category_of(code);
    if (code == ' ' && next < end) {
        next_code(next, end, &code);
        category = category_of(code);
    } else {
        next = at;
    }
    return category == WHITE_SPACE ? space_end(at, end) : run_of(category, next, end, INT64_MAX);
}

static const char *newlines_end(const char *at, const char *end)
{
    while (at < end && (*at == '\r' || *at == '\n'))
        at++;
    return at;
}

/* Up to the last newline of white space, or as it ends without one. */
static const char *lines_end(const char *at, const char *end)
{
    const char *last = run_of(WHITE_SPACE, at, end, INT64_MAX);
    while (last > at && last[-1] != '\r' && last[-1] != '\n')
        last--;
    return last > at ? last : space_end(at, end);
}

static const char *llama3_end(const char *at, const char *end, count digits)
{
    const char *const contraction = contraction_end(at, end, 1);
    uint32_t code, after = 0;
    if (contraction > at)
        return contraction;
    const char *const next = next_code(at, end, &code);
    const int category = category_of(code);
    if (next < end)
        next_code(next, end, &after);
    const int follows = next < end ? category_of(after) : WHITE_SPACE;
    if (category == LETTER)
        return run_of(LETTER, at, end, INT64_MAX);
    if (category != DIGIT && code != '\r' && code != '\n' && follows == LETTER)
        return run_of(LETTER, next, end, INT64_MAX);
    if (category == DIGIT)
        return run_of(DIGIT, at, end, digits);
    if (category == MARK_LIKE || (code == ' ' && follows == MARK_LIKE))
        return newlines_end(run_of(MARK_LIKE, code == ' ' ? next : at, end, INT64_MAX), end);
    return lines_end(at, end);
}

/* White space, a character of punctuation, or what stands between them. */
static const char *word_end(const char *at, const char *end)
{
    uint32_t code;
    const char *next = next_code(at, end, &code);
    const int space = classes_of(code) == SPACE_LIKE;
    if (is_punctuation(code))
        return next;
    for (const char *after; next < end; next = after) {
        after = next_code(next, end, &code);
        if ((classes_of(code) == SPACE_LIKE) != space || is_punctuation(code))
            break;
    }
    return next;
}

/* The text up to the next U+2581. */
static const char *marked_end(const char *at, const char *end)
{
    uint32_t code;
    for (at = next_code(at, end, &code); at < end; at++)
        if (end - at >= 3 && memcmp(at, "\xE2\x96\x81", 3) == 0)
            break;
    return at;
}

static const char *imported_end(int cut, const char *at, const char *end)
{
    switch (cut) {
    case CUT_GPT2:
        return gpt2_end(at, end);
    case CUT_LLAMA3:
        return llama3_end(at, end, 3);
    case CUT_QWEN2:
        return llama3_end(at, end, 1);
    case CUT_WORDS:
        return word_end(at, end);
    case CUT_MARKS:
        return marked_end(at, end);
    default:
        return end;
    }
}

/* What stands between white space, or white space. */
const char *space_or_word_end(const char *at, const char *end)
{
    uint32_t code;
    const char *next = next_code(at, end, &code);
    const int space = classes_of(code) & SPACE_LIKE;
    for (const char *after; next < end; next = after) {
        after = next_code(next, end, &code);
        if ((classes_of(code) & SPACE_LIKE) != space)
            break;
    }
    return next;
}

static const char *own_end(const char *at, const char *end)
{
    uint32_t code;
    const char *last = at, *next = next_code(at, end, &code);
    int classes = classes_of(code);
    if (code == '\n')
        return next;
    if (code == ' ' && next < end) {
        const char *after = next_code(next, end, &code);
        if (classes_of(code) != SPACE_LIKE) {
            classes = classes_of(code);
            next = after;
        }
    }
    const int run = classes & SPACE_LIKE ? SPACE_LIKE : classes & WORD_LIKE ? WORD_LIKE : OTHER;
    while (next < end) {
        const char *after = next_code(next, end, &code);
        const int found = classes_of(code);
        if (!(found & run) || code == '\n') /* before text, white space leaves its last character to it */
            return run == SPACE_LIKE && found != SPACE_LIKE && last > at ? last : next;
        last = next;
        next = after;
    }
    return next;
}

/* Where the piece that begins at `at` ends, in text that is UTF-8. */
const char *piece_end(const tokenizer *t, const char *at, const char *end)
{
    uint32_t code;
    if (t->imported)
        return imported_end(t->cut, at, end);
    return t->kind == CHARACTER ? next_code(at, end, &code)
         : t->kind == NUMBER ? space_or_word_end(at, end) : own_end(at, end);
}
