/* A driver for fuzzing.py: it reads cases from standard input, each of three blocks, and answers each with a line. All
   memory is of the size that was asked for, so that -fsanitize=address sees every step out of it. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "fault.h"
#include "tiles.h"

/* Bytes behind their number. */
typedef struct {
    char *at;
    uint32_t length;
} block;

static void *allocate(count bytes)
{
    void *found = malloc((size_t)bytes);
    if (!found && bytes)
        exit(1);
    return found;
}

/* Returns 0 if the input has ended. */
static int read_block(block *b)
{
    if (fread(&b->length, sizeof b->length, 1, stdin) != 1)
        return 0;
    b->at = allocate(b->length);
    return fread(b->at, 1, b->length, stdin) == b->length;
}

/* Call `answer` with the blocks of each case and room for a fault; it prints the line. */
static int answer_all(void (*answer)(const block *, char *))
{
    for (block blocks[3]; read_block(blocks);) {
        if (!read_block(blocks + 1) || !read_block(blocks + 2))
            return 1;
        char *fault = allocate(FAULT_SIZE);
        answer(blocks, fault);
        printf("\n");
        fflush(stdout);
        for (int i = 0; i < 3; i++)
            free(blocks[i].at);
        free(fault);
    }
    return 0;
}
