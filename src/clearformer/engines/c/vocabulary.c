/* A run's tokenizer.json, as `clearformer.data.tokenizers` writes it. Nothing in it is trusted, and an option that
   tokenizer.c does not have is refused by name. */

#include "json.h"
#include "tokenizer.h"

#define JSON(...) #__VA_ARGS__

/* What a file holds; {}, [], "" and 0 stand for any value of their kind. */
static const char word_level[] = JSON({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": false},
    "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "WordLevel", "vocab": {}, "unk_token": "<unk>"}
});
static const char numbers[] = JSON({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": null,
    "decoder": null,
    "model": {"type": "WordLevel", "vocab": {}, "unk_token": "<unk>"}
});
static const char byte_pairs[] = JSON({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
        "vocab": {}, "merges": []}
});
static const char added_token[] = JSON({"id": 0, "content": "", "single_word": false, "lstrip": false, "rstrip": false,
    "normalized": false, "special": true});
static const char character_pattern[] = JSON("[\\s\\S]");
static const char piece_pattern[] = JSON(" ?\\w+| ?[^\\s\\w]+|\\n|[^\\S\\n]+(?!\\S)|[^\\S\\n]");
static const char any_string[] = JSON("");
static const char *const special_tokens[] = {"<pad>", "<bos>", "<eos>", "<unk>", "<mask>"};

#define AGAIN "; use the tokenizer.json that the run was made with"

static json json_of(const char *text)
{
    return (json){text, text + strlen(text)};
}

/* Whether two values are the same text. */
static int same(json a, json b)
{
    return a.end - a.at == b.end - b.at && memcmp(a.at, b.at, (size_t)(a.end - a.at)) == 0;
}

/* What is expected, in words if it is an object, an array, or any string or number. */
static json in_words(json expected)
{
    const char kind = json_kind(expected);
    return kind == '{' ? json_of("an object") : kind == '[' ? json_of("an array")
         : same(expected, json_of(any_string)) ? json_of("a string")
         : kind == '0' ? json_of("a number") : expected;
}

/* Where a value stands: its key, and the key of the object that it is in. */
typedef struct {
    json key, outer;
} place;

static int refuse(char *fault, json expected, place at, json found)
{
    return explain(fault, "%j was expected as %j of %j, found %j" AGAIN, expected, at.key, at.outer, found);
}

static int matches(place at, json expected, json found, char *fault);

/* Whether an object has the keys that are expected, each once, and no others. */
static int keys_match(json outer, json expected, json found, char *fault)
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
static int matches(place at, json expected, json found, char *fault)
{
    const char kind = json_kind(expected);
    json a = json_first(expected), b = json_first(found);
    if (json_kind(found) != kind)
        return refuse(fault, in_words(expected), at, found);
    if (kind == '0' || same(expected, json_of(any_string)) || ((kind == '{' || kind == '[') && !a.at))
        return 1;
    if (kind == '{')
        return keys_match(at.key, expected, found, fault);
    if (kind != '[')
        return same(expected, found) || refuse(fault, expected, at, found);
    for (; a.at && b.at; a = json_next(expected, a), b = json_next(found, b))
        if (!matches(at, a, b, fault))
            return 0;
    return (!a.at && !b.at) || refuse(fault, in_words(a), at, b);
}

/* The byte that a character of a byte-level token stands for; -1: none. Bytes that are visible characters of Latin-1
   stand for themselves, and U+0100 and what follows for the others in order. */
static int byte_of(uint32_t code)
{
    if ((code > 32 && code < 127) || (code > 160 && code < 256 && code != 173))
        return (int)code;
    const uint32_t other = code - 256;
    return other > 67 ? -1 : other < 33 ? (int)other : other < 67 ? (int)other + 94 : 173;
}

/* Read a token's text into `to`, of a BPE its bytes. Returns their number; -1: it is none, or longer than `room`. */
static count read_token(const tokenizer *t, json value, char *to, count room)
{
    const count length = json_string(value, to, room);
    count n = 0;
    uint32_t code;
    if (t->kind != BPE || length < 0)
        return length;
    for (const char *at = to, *const end = to + length; at < end; n++) {
        at += utf8(at, end, &code);
        const int byte = byte_of(code);
        if (byte < 0)
            return -1;
        to[n] = (char)byte;
    }
    return n;
}

static int is_token(const tokenizer *t, int32_t id, const char *text)
{
    return *find_id(t, text, (count)strlen(text)) == id;
}

static int read_vocabulary(tokenizer *t, json vocabulary, char *fault)
{
    const count room = vocabulary.end - vocabulary.at;
    int32_t start = 0;
    for (json key = json_first(vocabulary), value; key.at; key = json_next(vocabulary, value)) {
        value = json_next(vocabulary, key);
        const count id = json_count(value);
        if (id < 0 || id >= t->V || t->tokens[id].length >= 0)
            return explain(fault, "an id for each token was expected, from 0 on, found %j for %j" AGAIN, value, key);
        const count length = read_token(t, key, t->bytes + start, room - start);
        if (length < 0)
            return explain(fault, "tokens of byte-level characters were expected, found %j" AGAIN, key);
        int32_t *slot = find_id(t, t->bytes + start, length);
        if (*slot >= 0)
            return explain(fault, "different tokens were expected, found %j twice" AGAIN, key);
        *slot = (int32_t)id;
        t->tokens[id] = (token){start, (int32_t)length};
        start += (int32_t)length;
    }
    for (int id = 0; id < MASK; id++)
        if (!is_token(t, id, special_tokens[id]))
            return explain(fault, "the token %s was expected with id %n, found another" AGAIN, special_tokens[id], (count)id);
    t->has_mask = is_token(t, MASK, special_tokens[MASK]);
    for (int byte = 0; t->kind == BPE && byte < 256; byte++) {
        t->byte_tokens[byte] = *find_id(t, (char[]){(char)byte}, 1);
        if (t->byte_tokens[byte] < 0)
            return explain(fault, "a token for each byte was expected, found none for %n" AGAIN, (count)byte);
    }
    return 1;
}

/* The library looks for added tokens in a text, unless they are special as those of `special_tokens` are. */
static int read_added_tokens(const tokenizer *t, json added, char *fault)
{
    const place here = {json_of("\"added_tokens\""), json_of("tokenizer.json")};
    for (json item = json_first(added); item.at; item = json_next(added, item)) {
        if (!matches(here, json_of(added_token), item, fault))
            return 0;
        const count id = json_count(json_field(item, "id"));
        if (id < 0 || id >= MASK + t->has_mask || !json_equals(json_field(item, "content"), special_tokens[id]))
            return explain(fault, "only special tokens were expected as added_tokens, found %j" AGAIN, item);
    }
    return 1;
}

/* Of a pair that has two ranks the later one counts, as in the library. `scratch` has room for a token's text. */
static int read_merges(tokenizer *t, json merges, char *scratch, count room, char *fault)
{
    int32_t rank = 0;
    for (json item = json_first(merges); item.at; item = json_next(merges, item), rank++) {
        const json left = json_first(item), right = json_next(item, left);
        const count n = read_token(t, left, scratch, room);
        const count more = n < 0 ? -1 : read_token(t, right, scratch + n, room - n);
        if (json_kind(item) != '[' || more < 0 || json_next(item, right).at)
            return explain(fault, "pairs of tokens were expected as merges, found %j" AGAIN, item);
        merge *m = t->merges + rank;
        *m = (merge){*find_id(t, scratch, n), *find_id(t, scratch + n, more), *find_id(t, scratch, n + more)};
        if (m->left < 0 || m->right < 0 || m->merged < 0)
            return explain(fault, "merges of two tokens into a third were expected, found %j" AGAIN, item);
        *find_rank(t, m->left, m->right) = rank;
    }
    return 1;
}

static void *take(char *memory, count *used, count bytes)
{
    void *found = memory ? memory + *used : NULL;
    *used += (bytes + 7) / 8 * 8;
    return found;
}

/* An empty table with room for n indices: at least half of it stays empty. */
static hash_table take_table(char *memory, count *used, count n)
{
    hash_table table = {NULL, 2};
    while (table.size < 2 * n)
        table.size *= 2;
    table.slots = take(memory, used, table.size * (count)sizeof(int32_t));
    if (memory)
        memset(table.slots, -1, table.size * sizeof(int32_t));
    return table;
}

static count items(json container)
{
    count n = 0;
    for (json item = json_first(container); item.at; item = json_next(container, item))
        n++;
    return n;
}

/* Divide memory among the arrays, for as many tokens and merges as the file has. Returns the bytes. */
static count lay_out(tokenizer *t, json vocabulary, json merges, char *memory)
{
    count used = 0;
    t->V = (int32_t)(items(vocabulary) / 2);
    t->number_of_merges = (int32_t)items(merges);
    take(memory, &used, sizeof(tokenizer));
    t->tokens = take(memory, &used, t->V * (count)sizeof(token));
    t->merges = take(memory, &used, t->number_of_merges * (count)sizeof(merge));
    t->ids = take_table(memory, &used, t->V);
    t->ranks = take_table(memory, &used, t->number_of_merges);
    t->bytes = take(memory, &used, 2 * (vocabulary.end - vocabulary.at)); /* of tokens, and for one merge to look up */
    for (count id = 0; memory && id < t->V; id++)
        t->tokens[id] = (token){0, -1};
    return used;
}

/* The kind of a file; -1 if it is none of ours. */
static int kind_of(json file, char *fault)
{
    const json pre_tokenizer = json_field(file, "pre_tokenizer");
    const int bpe = json_equals(json_field(json_field(file, "model"), "type"), "BPE");
    const int number = json_equals(json_field(pre_tokenizer, "type"), "WhitespaceSplit");
    const char *const expected = bpe ? byte_pairs : number ? numbers : word_level;
    if (!keys_match(json_of("tokenizer.json"), json_of(expected), file, fault))
        return -1;
    if (number)
        return NUMBER;
    const json split = bpe ? json_first(json_field(pre_tokenizer, "pretokenizers")) : pre_tokenizer;
    const json pattern = json_field(json_field(split, "pattern"), "Regex");
    if (!bpe && same(pattern, json_of(character_pattern)))
        return CHARACTER;
    if (same(pattern, json_of(piece_pattern)))
        return bpe ? BPE : WORD;
    explain(fault, "the pattern of characters or of words was expected, found %j" AGAIN, pattern);
    return -1;
}

/* Read the text of a tokenizer.json into `memory`, aligned to 8, which begins with the `tokenizer`; with `memory` NULL
   only the bytes that it takes are found. Returns them; 0: refused, and `fault`, of FAULT_SIZE characters, says why. */
count read_tokenizer(const char *text, count length, char *memory, char *fault)
{
    const json file = {text, text + length};
    fault[0] = 0;
    if (length > INT32_MAX || !json_valid(file) || json_kind(file) != '{')
        return explain(fault, "an object of JSON was expected, found something else" AGAIN);
    const json model = json_field(file, "model"), vocabulary = json_field(model, "vocab");
    const json merges = json_field(model, "merges");
    tokenizer t = {.kind = kind_of(file, fault)};
    const count used = t.kind < 0 ? 0 : lay_out(&t, vocabulary, merges, memory);
    if (!used || !memory)
        return used;
    const count room = vocabulary.end - vocabulary.at;
    if (!read_vocabulary(&t, vocabulary, fault) || !read_added_tokens(&t, json_field(file, "added_tokens"), fault) ||
        !read_merges(&t, merges, t.bytes + room, room, fault))
        return 0;
    *(tokenizer *)memory = t;
    return used;
}
