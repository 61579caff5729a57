/* Whether a value is what a file is expected to hold, in JSON: {}, [], "" and 0 stand for any value of their kind, "?"
   for any value, and "true?" for true or false. */

#include "matching.h"

static const char any_string[] = JSON(""), anything[] = JSON("?"), yes_or_no[] = JSON("true?");

json json_of(const char *text)
{
    return (json){text, text + strlen(text)};
}

/* Whether two values are the same text. */
int same(json a, json b)
{
    return a.end - a.at == b.end - b.at && memcmp(a.at, b.at, (size_t)(a.end - a.at)) == 0;
}

int is_null(json value)
{
    return json_is(value, "null");
}

int is_true(json object, const char *name)
{
    return json_is(json_field(object, name), "true");
}

/* What is expected, in words if it is an object, an array, or any string or number. */
static json in_words(json expected)
{
    const char kind = json_kind(expected);
    return kind == '{' ? json_of("an object") : kind == '[' ? json_of("an array")
         : same(expected, json_of(any_string)) ? json_of("a string")
         : same(expected, json_of(anything)) ? json_of("a value")
         : same(expected, json_of(yes_or_no)) ? json_of("true or false")
         : kind == '0' ? json_of("a number") : expected;
}

static int refuse(char *fault, json expected, place at, json found)
{
    return explain(fault, "%j was expected as %j of %j, found %j" AGAIN, expected, at.key, at.outer, found);
}

/* Whether an object has the keys that are expected, each once, and no others. */
int keys_match(json outer, json expected, json found, char *fault)
{
    const json none = {NULL, NULL};
    uint32_t seen = 0, bit = 1;
    for (json key = json_first(found), value; key.at; key = json_next(found, value)) {
        json name = json_first(expected);
        value = json_next(found, key);
        for (bit = 1; name.at && !same(name, key); bit *= 2)
            name = json_next(expected, json_next(expected, name));
        if (!name.at || (seen & bit))
            return refuse(fault, none, (place){key, outer}, value);
        seen |= bit;
        if (!matches((place){key, outer}, json_next(expected, name), value, fault))
            return 0;
    }
    bit = 1;
    for (json name = json_first(expected), value; name.at; name = json_next(expected, value), bit *= 2) {
        value = json_next(expected, name);
        if (!(seen & bit))
            return refuse(fault, in_words(value), (place){name, outer}, none);
    }
    return 1;
}

/* Whether a value is what is expected. */
int matches(place at, json expected, json found, char *fault)
{
    const char kind = json_kind(expected);
    json a = json_first(expected), b = json_first(found);
    const int is_switch = json_kind(found) == 't' || json_kind(found) == 'f';
    if (same(expected, json_of(anything)) || (same(expected, json_of(yes_or_no)) && is_switch))
        return 1;
    if (json_kind(found) != kind)
        return refuse(fault, in_words(expected), at, found);
    if (kind == '0' || same(expected, json_of(any_string)) || ((kind == '{' || kind == '[') && !a.at))
        return 1;
    if (kind == '{')
        return keys_match(at.key, expected, found, fault);
    if (kind != '[')
        return same(expected, found) || refuse(fault, in_words(expected), at, found);
    for (; a.at && b.at; a = json_next(expected, a), b = json_next(found, b))
        if (!matches(at, a, b, fault))
            return 0;
    return (!a.at && !b.at) || refuse(fault, in_words(a), at, b);
}

/* Whether a value is of a form, whatever is not if it is not. */
int fits(const char *form, json found)
{
    char fault[FAULT_SIZE];
    const place nowhere = {{NULL, NULL}, {NULL, NULL}};
    return matches(nowhere, json_of(form), found, fault);
}
