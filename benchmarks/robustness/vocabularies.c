/* Of a tokenizer.json behind a line that is the special_tokens_map.json of an imported one, a text and token ids: the
   ids of the text and the text of the ids in hexadecimal, or why the file was refused. */

#include "fuzzing.h"
#include "tokenizer.h"

static void show(const tokenizer *t, const char *text, count length, const int32_t *ids, count number)
{
    char *memory = allocate(encode_text(t, text, length, NULL, NULL));
    int32_t *found = allocate(most_tokens(t, length) * (count)sizeof *found);
    const count n = encode_text(t, text, length, found, memory);
    for (count i = 0; i < n; i++)
        printf("%d ", found[i]);
    partial rest = {{0}, 0, 0, 0, 0};
    const int at_once = t->imported; /* where a stream may differ from the library, see decode_tokens */
    printf(n < 0 ? "no UTF-8:" : ":");
    for (count i = 0; i <= (at_once ? 0 : number); i++) { /* one at a time; the last call ends the stream */
        const count n = at_once ? number : i < number;
        const count bytes = decode_tokens(t, ids + i, n, at_once ? NULL : &rest, NULL);
        char *out = allocate(bytes);
        decode_tokens(t, ids + i, n, at_once ? NULL : &rest, out);
        for (count b = 0; b < bytes; b++)
            printf("%02x", (unsigned char)out[b]);
        free(out);
    }
    free(memory);
    free(found);
}

static void answer(const block *blocks, char *fault)
{
    const block text = blocks[1], ids = blocks[2];
    const char *const names = blocks[0].at, *const line = memchr(names, '\n', blocks[0].length);
    const count length = line - names, rest = blocks[0].length - length - 1;
    char *file = memcpy(allocate(rest), line + 1, (size_t)rest);
    const char *const given = length ? names : NULL;
    const count size = read_tokenizer(file, rest, given, length, NULL, fault);
    char *memory = size ? allocate(size) : NULL;
    if (size && read_tokenizer(file, rest, given, length, memory, fault))
        show((tokenizer *)memory, text.at, text.length, (int32_t *)ids.at, ids.length / sizeof(int32_t));
    else
        printf("refused: %s", fault);
    free(memory);
    free(file);
}

int main(void)
{
    return answer_all(answer);
}
