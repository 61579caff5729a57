/* What the program needs of the operating system: memory, files, lines, and an end. */

#if defined __unix__ || defined __APPLE__
#define _POSIX_C_SOURCE 200809L
#define HAS_MMAP
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

#include "program.h"

char fault[FAULT_SIZE];

/* End with the fault; `where` is "" or names the file that it is of. */
_Noreturn void stop(const char *where)
{
    fflush(stdout);
    fprintf(stderr, "transformer: %s%s\n", where, fault);
    exit(2);
}

/* Memory at `at`, or new memory if that is NULL, of another size. */
void *resize(void *at, count bytes)
{
    void *found = bytes < PTRDIFF_MAX ? realloc(at, (size_t)bytes + 1) : NULL;
    if (!found)
        fail("%n bytes of memory were expected, found less; close other programs", bytes);
    return found;
}

void *allocate(count bytes)
{
    return resize(NULL, bytes);
}

#ifdef HAS_MMAP
static int is_terminal(void)
{
    return isatty(STDIN_FILENO);
}

/* The bytes of a file, which are read when they are used, and are not written to. */
text read_file(const char *path)
{
    struct stat status;
    const int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &status) || !S_ISREG(status.st_mode))
        fail("a file was expected as %s, found none that can be read; export the run again", path);
    const count length = (count)status.st_size;
    char *at = length ? mmap(NULL, (size_t)length, PROT_READ, MAP_PRIVATE, file, 0) : allocate(0);
    if (at == MAP_FAILED)
        fail("%n bytes of %s were expected, but they cannot be read; export the run again", length, path);
    close(file);
    return (text){at, length};
}
#else
static int is_terminal(void)
{
    return 0;
}

text read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    text x = {NULL, 0};
    for (count room = 1 << 16, some = -1; file && some; room *= 2, x.length += some) {
        x.at = resize(x.at, room);
        some = (count)fread(x.at + x.length, 1, (size_t)(room - x.length), file);
    }
    if (!file || ferror(file))
        fail("a file was expected as %s, found none that can be read; export the run again", path);
    fclose(file);
    return x;
}
#endif

/* A line of standard input without its end, and without a byte order mark; 0 if there is none. */
static int read_line(program *p, text *x)
{
    count room = 256;
    int byte;
    *x = (text){allocate(room), 0};
    if (p->lines == 0 && is_terminal())
        fprintf(stderr, "type a line and press return; end with Ctrl-D\n");
    while ((byte = getchar()) != EOF && byte != '\n') {
        if (x->length == room)
            x->at = resize(x->at, room *= 2);
        x->at[x->length++] = (char)byte;
    }
    const int found = byte != EOF || x->length;
    if (p->lines++ == 0 && x->length >= 3 && memcmp(x->at, "\xEF\xBB\xBF", 3) == 0)
        memmove(x->at, x->at + 3, (size_t)(x->length -= 3));
    x->length -= x->length && x->at[x->length - 1] == '\r';
    return found;
}

/* The next argument or line, which the caller frees; 0 if there is none. */
int next_text(program *p, text *x)
{
    if (!p->arguments)
        return read_line(p, x);
    if (!*p->arguments)
        return 0;
    *x = (text){NULL, (count)strlen(*p->arguments)};
    x->at = memcpy(allocate(x->length), *p->arguments++, (size_t)x->length);
    return 1;
}

/* The tokens of a text and room for one more, which the caller frees. None are put around it. */
ids encode(program *p, text x)
{
    if (x.length > INT32_MAX / 8)
        fail("a text of at most %n bytes was expected, found %n; shorten it", (count)INT32_MAX / 8, x.length);
    char *memory = allocate(encode_text(p->t, x.at, x.length, NULL, NULL));
    ids found = {allocate((most_tokens(p->t, x.length) + 1) * (count)sizeof(int32_t)), 0};
    found.n = encode_text(p->t, x.at, x.length, found.at, memory);
    free(memory);
    if (found.n < 0)
        fail("text in UTF-8 was expected, found other bytes; convert it to UTF-8");
    for (count i = 0; i < found.n; i++)
        p->unknown += found.at[i] == p->t->roles[UNK];
    return found;
}

/* The tokens of a text with those that the tokenizer puts around it, and room for one more. */
ids with_around(const program *p, ids x)
{
    const tokenizer *t = p->t;
    const count before = t->around_numbers[0], behind = t->around_numbers[1];
    ids found = {allocate((before + x.n + behind + 1) * (count)sizeof(int32_t)), before + x.n + behind};
    memcpy(found.at, t->around[0], (size_t)before * sizeof(int32_t));
    memcpy(found.at + before, x.at, (size_t)x.n * sizeof(int32_t));
    memcpy(found.at + before + x.n, t->around[1], (size_t)behind * sizeof(int32_t));
    free(x.at);
    return found;
}

/* The text of tokens as far as its characters are complete, which the caller frees; with n = 0, what is left. */
text text_of(const program *p, const int32_t *tokens, count n, partial *rest)
{
    text x = {allocate(decode_tokens(p->t, tokens, n, rest, NULL)), 0};
    x.length = decode_tokens(p->t, tokens, n, rest, x.at);
    return x;
}

void print_tokens(const program *p, const int32_t *tokens, count n, partial *rest)
{
    const text x = text_of(p, tokens, n, rest);
    fwrite(x.at, 1, (size_t)x.length, stdout);
    fflush(stdout);
    free(x.at);
}
