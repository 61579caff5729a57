/* Sentences about faults, in memory of FAULT_SIZE bytes. */

#include "fault.h"
#include "json.h"
#include "transformer.h"

#include <stdarg.h>

enum { SHOWN = 60 }; /* characters of a text, at most */

typedef struct {
    char *at;
    count length;
} sentence;

/* What is no printable ASCII becomes '?': a file can hold characters that control a terminal. */
static void put(sentence *to, const char *from, count length)
{
    for (count i = 0; i < length && to->length < FAULT_SIZE - 1; i++)
        to->at[to->length++] = from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
}

static void put_text(sentence *to, const char *from, count length)
{
    put(to, from, least(length, SHOWN));
    put(to, "...", length > SHOWN ? 3 : 0);
}

static void put_count(sentence *to, count number)
{
    char digits[20];
    int first = sizeof digits;
    put(to, "-", number < 0);
    do
        digits[--first] = (char)('0' + (number < 0 ? -(number % 10) : number % 10));
    while (number /= 10);
    put(to, digits + first, (count)sizeof digits - first);
}

/* "norm.weight [64]" */
static void put_tensor(sentence *to, const tensor *t)
{
    put_text(to, t->name, (count)strlen(t->name));
    put(to, " [", 2);
    put_count(to, t->rows);
    if (t->columns) {
        put(to, ", ", 2);
        put_count(to, t->columns);
    }
    put(to, "]", 1);
}

static void put_words(sentence *to, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        put(to, ", ", i ? 2 : 0);
        put(to, words[i], (count)strlen(words[i]));
    }
}

/* Write a sentence, in which %s is a text, %n a count, %j a value of JSON, %t a tensor's name and shape, by a pointer,
   and %w words up to a NULL. Returns 0, so that a check can return it. */
int explain(char *fault, const char *words, ...)
{
    sentence to = {fault, 0};
    json value;
    va_list values;
    va_start(values, words);
    for (; *words; words++)
        switch (*words == '%' ? *++words : 0) {
        case 's':
            value.at = va_arg(values, const char *);
            put_text(&to, value.at, (count)strlen(value.at));
            break;
        case 'n':
            put_count(&to, va_arg(values, count));
            break;
        case 'j':
            value = va_arg(values, json);
            put_text(&to, value.at ? value.at : "nothing", value.at ? value.end - value.at : 7);
            break;
        case 't':
            put_tensor(&to, va_arg(values, const tensor *));
            break;
        case 'w':
            put_words(&to, va_arg(values, const char *const *));
            break;
        default:
            put(&to, words, 1);
        }
    va_end(values);
    to.at[to.length] = 0;
    return 0;
}
