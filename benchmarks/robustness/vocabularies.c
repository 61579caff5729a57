/* Reads cases from standard input, each a tokenizer.json, a text and token ids, and prints a line for each: the ids of the
   text and the text of the ids in hexadecimal, or why the file was refused. All memory is of the size that was asked
   for, so that -fsanitize=address sees every step out of it. */

#include <stdio.h>
#include <stdlib.h>

#include "tokenizer.h"

static void *allocate(count bytes)
{
    void *found = malloc((size_t)bytes);
    if (!found && bytes)
        exit(1);
    return found;
}

/* Bytes behind their number; NULL: the input has ended. */
static char *read_block(uint32_t *length)
{
    if (fread(length, sizeof *length, 1, stdin) != 1)
        return NULL;
    char *block = allocate(*length);
    return fread(block, 1, *length, stdin) == *length ? block : NULL;
}

static void show(const tokenizer *t, const char *text, count length, const int32_t *ids, count number)
{
    char *memory = allocate(encode_text(t, text, length, NULL, NULL));
    int32_t *found = allocate(length * (count)sizeof *found);
    const count n = encode_text(t, text, length, found, memory);
    for (count i = 0; i < n; i++)
        printf("%d ", found[i]);
    partial rest = {{0}, 0};
    printf(n < 0 ? "no UTF-8:" : ":");
    for (count i = 0; i <= number; i++) { /* one at a time; the last call ends the stream */
        const count bytes = decode_tokens(t, ids + i, i < number, &rest, NULL);
        char *out = allocate(bytes);
        decode_tokens(t, ids + i, i < number, &rest, out);
        for (count b = 0; b < bytes; b++)
            printf("%02x", (unsigned char)out[b]);
        free(out);
    }
    free(memory);
    free(found);
}

int main(void)
{
    uint32_t lengths[3];
    for (char *blocks[3]; (blocks[0] = read_block(lengths));) {
        for (int i = 1; i < 3; i++)
            if (!(blocks[i] = read_block(lengths + i)))
                return 1;
        char *fault = allocate(FAULT_SIZE);
        const count size = read_tokenizer(blocks[0], lengths[0], NULL, fault);
        char *memory = size ? allocate(size) : NULL;
        if (size && read_tokenizer(blocks[0], lengths[0], memory, fault))
            show((tokenizer *)memory, blocks[1], lengths[1], (int32_t *)blocks[2], lengths[2] / sizeof(int32_t));
        else
            printf("refused: %s", fault);
        printf("\n");
        fflush(stdout);
        for (int i = 0; i < 3; i++)
            free(blocks[i]);
        free(memory);
        free(fault);
    }
    return 0;
}
