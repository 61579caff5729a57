/* JSON where it lies: a value is the piece of text that it takes, and nothing is allocated or copied. */

#ifndef JSON_H
#define JSON_H

#include "tiles.h"

/* The text of one value; `at` NULL: there is none, which every function accepts. */
typedef struct {
    const char *at, *end;
} json;

int utf8(const char *at, const char *end, uint32_t *code);
int utf8_of(uint32_t code, char *to);
int json_valid(json text);
char json_kind(json value);
int json_is(json value, const char *word);
json json_first(json container);
json json_next(json container, json item);
json json_field(json object, const char *name);
count json_string(json value, char *to, count room);
int json_equals(json value, const char *text);
double json_number(json value);
count json_count(json value);

#endif
