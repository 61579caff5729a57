/* What a tokenizer.json is expected to hold. */

#ifndef MATCHING_H
#define MATCHING_H

#include "fault.h"
#include "json.h"

#define JSON(...) #__VA_ARGS__
#define AGAIN "; use the tokenizer.json that the run was made with"

/* Where a value stands: its key, and the key of the object that it is in. */
typedef struct {
    json key, outer;
} place;

json json_of(const char *text);
int same(json a, json b);
int keys_match(json outer, json expected, json found, char *fault);
int is_null(json value);
int is_true(json object, const char *name);
int fits(const char *form, json found);
int matches(place at, json expected, json found, char *fault);

#endif
