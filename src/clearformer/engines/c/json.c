/* Reading JSON (RFC 8259): `json_valid` checks a whole text once, the others walk through it.

   Stricter than the standard, so that a value has one meaning: UTF-8 without a byte order mark, no escaped half of a
   surrogate pair, and no more than 64 containers in each other. `after_*` return where something ends, NULL if it is
   malformed. */

#include "json.h"

enum { DEPTH = 64, LONGEST_NAME = 64 };

static const char *after_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

static const char *after_word(const char *at, const char *end, const char *word)
{
    for (; *word; word++, at++)
        if (at == end || *at != *word)
            return NULL;
    return at;
}

static const char *after_digits(const char *at, const char *end)
{
    const char *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at > first ? at : NULL;
}

static const char *after_number(const char *at, const char *end)
{
    at += at < end && *at == '-';
    at = at < end && *at == '0' ? at + 1 : after_digits(at, end);
    if (at && at < end && *at == '.')
        at = after_digits(at + 1, end);
    if (at && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = after_digits(at, end);
    }
    return at;
}

static int is_surrogate(uint32_t code)
{
    return code >= 0xD800 && code < 0xE000;
}

/* Read one character of UTF-8 that begins before `end`. Returns its bytes; 0 if the text ends within it; and if it is
   broken, minus the bytes that could still have begun one, at least 1. */
int utf8(const char *at, const char *end, uint32_t *code)
{
    const unsigned char *bytes = (const unsigned char *)at, first = bytes[0];
    const int more = first < 0x80 ? 0 : first < 0xC2 || first > 0xF4 ? -1 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
    *code = more > 0 ? first & (0x3Fu >> more) : first;
    for (int i = 1; i <= more; i++) {
        /* the second byte shows what is too long, a surrogate, or above U+10FFFF */
        const int low = i > 1 ? 0x80 : first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
        const int high = i > 1 ? 0xBF : first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
        if (at + i == end)
            return 0;
        if (bytes[i] < low || bytes[i] > high)
            return -i;
        *code = *code << 6 | (bytes[i] & 0x3F);
    }
    return more + 1 > 0 ? more + 1 : -1;
}

/* The code of \uXXXX */
static const char *after_hex(const char *at, const char *end, uint32_t *code)
{
    at = after_word(at, end, "\\u");
    *code = 0;
    for (int i = 0; at && i < 4; i++, at++) {
        const char c = at < end ? *at : 0, lower = (char)(c | 0x20);
        if (!(c >= '0' && c <= '9') && !(lower >= 'a' && lower <= 'f'))
            return NULL;
        *code = *code << 4 | (uint32_t)(c <= '9' ? c - '0' : lower - 'a' + 10);
    }
    return at;
}

static const char *after_escape(const char *at, const char *end, uint32_t *code)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    uint32_t low;
    for (int i = 0; at + 1 < end && names[i]; i++)
        if (at[1] == names[i]) {
            *code = (unsigned char)meanings[i];
            return at + 2;
        }
    at = after_hex(at, end, code);
    if (!at || !is_surrogate(*code))
        return at;
    at = after_hex(at, end, &low);
    if (!at || *code >= 0xDC00 || low < 0xDC00 || low >= 0xE000)
        return NULL;
    *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
    return at;
}

/* One character of a string, and its code point. */
static const char *after_character(const char *at, const char *end, uint32_t *code)
{
    if (at == end || (unsigned char)*at < 0x20)
        return NULL;
    if (*at == '\\')
        return after_escape(at, end, code);
    const int bytes = utf8(at, end, code);
    return bytes > 0 ? at + bytes : NULL;
}

static const char *after_string(const char *at, const char *end)
{
    uint32_t code;
    at = after_word(at, end, "\"");
    while (at && (at == end || *at != '"'))
        at = after_character(at, end, &code);
    return at ? at + 1 : NULL;
}

static const char *after_value(const char *at, const char *end, int depth);

/* An object or an array. */
static const char *after_container(const char *at, const char *end, int depth)
{
    const int object = *at == '{';
    const char close = object ? '}' : ']';
    at = after_space(at + 1, end);
    if (depth == 0 || (at < end && *at == close))
        return depth == 0 ? NULL : at + 1;
    for (;;) {
        if (object) {
            at = after_string(at, end);
            at = at ? after_word(after_space(at, end), end, ":") : NULL;
            at = at ? after_space(at, end) : NULL;
        }
        at = at ? after_value(at, end, depth - 1) : NULL;
        at = at ? after_space(at, end) : NULL;
        if (!at || at == end || (*at != ',' && *at != close))
            return NULL;
        if (*at == close)
            return at + 1;
        at = after_space(at + 1, end);
    }
}

static const char *after_value(const char *at, const char *end, int depth)
{
    switch (at < end ? *at : 0) {
    case '{':
    case '[':
        return after_container(at, end, depth);
    case '"':
        return after_string(at, end);
    case 't':
        return after_word(at, end, "true");
    case 'f':
        return after_word(at, end, "false");
    case 'n':
        return after_word(at, end, "null");
    default:
        return after_number(at, end);
    }
}

/* The value that begins at `at`, after white space; none if there is no valid one. */
static json value_at(const char *at, const char *end)
{
    at = after_space(at, end);
    const json value = {at, after_value(at, end, DEPTH)};
    return value.end ? value : (json){NULL, NULL};
}

/* Whether a text is one valid value; afterwards the functions below find what is in it. */
int json_valid(json text)
{
    const json value = value_at(text.at, text.end);
    return value.at && after_space(value.end, text.end) == text.end;
}

/* '{' object, '[' array, '"' string, '0' number, 't' true, 'f' false, 'n' null, 0 none. */
char json_kind(json value)
{
    const char *at = after_space(value.at, value.end);
    const char first = at < value.end ? *at : 0;
    return first == '-' || (first >= '0' && first <= '9') ? '0' : first;
}

/* Whether a value is a word: "true", "false" or "null". */
int json_is(json value, const char *word)
{
    const char *at = after_word(after_space(value.at, value.end), value.end, word);
    return at && after_space(at, value.end) == value.end;
}

/* The first item of an array, or the first key of an object; none if there are none. */
json json_first(json container)
{
    const char kind = json_kind(container);
    if (kind != '{' && kind != '[')
        return (json){NULL, NULL};
    return value_at(after_space(container.at, container.end) + 1, container.end);
}

/* The item after `item`; in an object keys and values take turns. */
json json_next(json container, json item)
{
    const char *at = item.at ? after_space(item.end, container.end) : container.end;
    if (at == container.end || (*at != ',' && *at != ':'))
        return (json){NULL, NULL};
    return value_at(at + 1, container.end);
}

int utf8_of(uint32_t code, char *to)
{
    static const unsigned char marks[] = {0, 0xC0, 0xE0, 0xF0};
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    for (int i = more; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3F));
    to[0] = (char)(marks[more] | code);
    return more + 1;
}

/* Decode a string into `to`, as UTF-8 without a zero after it, which it may have inside; with `to` NULL only count.
   Returns the bytes; -1 if it is no string, or they are more than `room`. */
count json_string(json value, char *to, count room)
{
    const char *at = after_word(after_space(value.at, value.end), value.end, "\"");
    count length = 0;
    while (at && (at == value.end || *at != '"')) {
        char bytes[4];
        uint32_t code;
        at = after_character(at, value.end, &code);
        const int some = at ? utf8_of(code, bytes) : 0;
        if (to && some > room - length)
            return -1;
        if (to)
            memcpy(to + length, bytes, (size_t)some);
        length += some;
    }
    return at ? length : -1;
}

/* Whether a value is a string of this text, of at most LONGEST_NAME bytes. */
int json_equals(json value, const char *text)
{
    char bytes[LONGEST_NAME];
    const count length = (count)strlen(text);
    return json_string(value, bytes, LONGEST_NAME) == length && memcmp(bytes, text, (size_t)length) == 0;
}

/* The value of the key `name`, of at most LONGEST_NAME bytes; none if the key is missing, or is there twice. */
json json_field(json object, const char *name)
{
    json found = {NULL, NULL};
    for (json key = json_first(object), value; json_kind(object) == '{' && key.at; key = json_next(object, value)) {
        value = json_next(object, key);
        if (json_equals(key, name) && found.at)
            return (json){NULL, NULL};
        if (json_equals(key, name))
            found = value;
    }
    return found;
}

/* A number, NaN if it is none: of up to 15 digits and 10^-22 to 10^22 the nearest double, else off by 1e-15 of it. */
double json_number(json value)
{
    const char *at = after_space(value.at, value.end);
    const double sign = at < value.end && *at == '-' ? -1 : 1;
    uint64_t digits = 0;
    count exponent = 0, written = 0;
    if (json_kind(value) != '0')
        return NAN;
    for (int fraction = 0; at < value.end && *at != 'e' && *at != 'E'; at++) {
        fraction |= *at == '.';
        if (*at < '0' || *at > '9')
            continue;
        const int fits = digits < UINT64_MAX / 10 - 1;
        digits = fits ? digits * 10 + (uint64_t)(*at - '0') : digits;
        exponent += !fits - (fraction != 0);
    }
    const int negative = at + 1 < value.end && at[1] == '-';
    for (; at < value.end; at++)
        if (*at >= '0' && *at <= '9' && written < 1000000000)
            written = written * 10 + (*at - '0');
    exponent += negative ? -written : written;
    const count power = exponent < 0 ? -exponent : exponent, some = least(power, 300); /* 10^309 is no double */
    const double scale = pow(10, (double)some), rest = pow(10, (double)(power - some)), whole = sign * (double)digits;
    return digits == 0 ? whole : exponent < 0 ? whole / scale / rest : whole * scale * rest;
}

/* A number from 0 to 2^53 without fraction and exponent; -1 if it is none. */
count json_count(json value)
{
    const char *at = after_space(value.at, value.end);
    count n = json_kind(value) == '0' ? 0 : -1;
    for (; n >= 0 && at < value.end && *at >= '0' && *at <= '9'; at++) {
        n = n * 10 + (*at - '0');
        n = n <= (count)1 << 53 ? n : -1;
    }
    return after_space(at, value.end) == value.end ? n : -1;
}
