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

enum { LONGEST_NAME = 64, LONGEST_QUOTE = 40 };

static json json_of(const char *text)
{
    return (json){text, text + strlen(text)};
}

/* Whether two values are the same text. */
static int same(json a, json b)
{
    return a.end - a.at == b.end - b.at && memcmp(a.at, b.at, (size_t)(a.end - a.at)) == 0;
}

/* Add a text to a fault, in one line; of a long one the beginning. */
static void add(char *fault, json text, count most)
{
    const count length = (count)strlen(fault), all = text.end - text.at;
    count n = least(all, least(most, FAULT_SIZE - 1 - length));
    while (n < all && n > 0 && (text.at[n] & 0xC0) == 0x80)
        n--; /* no part of a character */
    for (count i = 0; i < n; i++)
        fault[length + i] = (unsigned char)text.at[i] < ' ' ? ' ' : text.at[i];
    fault[length + n] = 0;
    if (n < all && most < FAULT_SIZE)
        add(fault, json_of("..."), FAULT_SIZE);
}

static void say(char *fault, const char *words)
{
    add(fault, json_of(words), FAULT_SIZE);
}

/* Where a value stands: its key, and where the object stands that it is in. */
typedef struct place {
    json key;
    const struct place *in;
} place;

static void add_place(char *fault, const place *p)
{
    if (p->in) {
        add_place(fault, p->in);
        say(fault, ".");
    }
    add(fault, (json){p->key.at + 1, p->key.end - 1}, LONGEST_QUOTE);
}

/* Say in a fault what was expected, at a place or, with `at` NULL, of the whole file, and what was found. Returns 0. */
static int refuse(char *fault, json expected, const place *at, json found)
{
    const json none = json_of("nothing");
    add(fault, expected.at ? expected : none, FAULT_SIZE);
    say(fault, " was expected ");
    if (at) {
        say(fault, "as \"");
        add_place(fault, at);
        say(fault, "\" ");
    }
    say(fault, "in tokenizer.json, found ");
    add(fault, found.at ? found : none, LONGEST_QUOTE);
    say(fault, "; use the tokenizer.json that the run was made with");
    return 0;
}

/* A value that is expected in words, if it stands for any of its kind or is an object or an array. */
static json in_words(json expected)
{
    const char kind = json_kind(expected);
    return kind == '{' ? json_of("an object") : kind == '[' ? json_of("an array")
         : same(expected, json_of(any_string)) ? json_of("a string")
         : kind == '0' ? json_of("a number") : expected;
}

static int matches(const place *at, json expected, json found, char *fault);

/* Whether an object has the keys that are expected, each once, and no others. */
static int keys_match(const place *at, json expected, json found, char *fault)
{
    const json none = {NULL, NULL};
    char name[LONGEST_NAME];
    for (json key = json_first(found), value; key.at; key = json_next(found, value)) {
        value = json_next(found, key);
        const place here = {key, at};
        const count length = json_string(key, name, LONGEST_NAME - 1);
        name[length < 0 ? 0 : length] = 0;
        const json wanted = json_field(expected, name);
        if (!wanted.at || json_field(found, name).at != value.at)
            return refuse(fault, none, &here, value);
        if (!matches(&here, wanted, value, fault))
            return 0;
    }
    for (json key = json_first(expected), value; key.at; key = json_next(expected, value)) {
        value = json_next(expected, key);
        const place here = {key, at};
        name[json_string(key, name, LONGEST_NAME - 1)] = 0;
        if (!json_field(found, name).at)
            return refuse(fault, in_words(value), &here, none);
    }
    return 1;
}

/* Whether a value is what is expected. */
static int matches(const place *at, json expected, json found, char *fault)
{
    const char kind = json_kind(expected);
    json a = json_first(expected), b = json_first(found);
    if (json_kind(found) != kind)
        return refuse(fault, in_words(expected), at, found);
    if (kind == '0' || same(expected, json_of(any_string)) || ((kind == '{' || kind == '[') && !a.at))
        return 1;
    if (kind == '{')
        return keys_match(at, expected, found, fault);
    if (kind != '[')
        return same(expected, found) || refuse(fault, expected, at, found);
    for (; a.at && b.at; a = json_next(expected, a), b = json_next(found, b))
        if (!matches(at, a, b, fault))
            return 0;
    return (!a.at && !b.at) || refuse(fault, in_words(a), at, b);
}

/* A token id below `limit`, written in digits; -1: it is none. */
static int32_t id_of(json value, count limit)
{
    count id = 0;
    for (const char *at = value.at; at < value.end; at++) {
        id = id * 10 + (*at - '0');
        if (*at < '0' || *at > '9' || id >= limit)
            return -1;
    }
    return (int32_t)id;
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

static int is_token(const tokenizer *t, count id, const char *text)
{
    const token *x = t->tokens + id;
    return id < t->V && x->length == (count)strlen(text) && memcmp(t->bytes + x->start, text, strlen(text)) == 0;
}

static int read_vocabulary(tokenizer *t, json vocabulary, char *fault)
{
    const count room = vocabulary.end - vocabulary.at;
    int32_t start = 0;
    for (json key = json_first(vocabulary), value; key.at; key = json_next(vocabulary, value)) {
        value = json_next(vocabulary, key);
        const int32_t id = id_of(value, t->V);
        if (id < 0 || t->tokens[id].length >= 0)
            return refuse(fault, json_of("an id for each token, from 0 on without gaps,"), NULL, (json){key.at, value.end});
        const count length = read_token(t, key, t->bytes + start, room - start);
        int32_t *slot = length < 0 ? NULL : find_id(t, t->bytes + start, length);
        if (!slot || *slot >= 0)
            return refuse(fault, json_of(slot ? "a vocabulary without repeated tokens" : "a token of byte-level characters"), NULL, key);
        *slot = id;
        t->tokens[id] = (token){start, (int32_t)length};
        start += (int32_t)length;
    }
    for (int id = 0; id < MASK; id++)
        if (!is_token(t, id, special_tokens[id]))
            return refuse(fault, json_of("a vocabulary that begins with <pad>, <bos>, <eos>, <unk>"), NULL, vocabulary);
    for (int byte = 0; t->kind == BPE && byte < 256; byte++) {
        const char bytes[] = {(char)byte};
        t->byte_tokens[byte] = *find_id(t, bytes, 1);
        if (t->byte_tokens[byte] < 0)
            return refuse(fault, json_of("a token for each of the 256 bytes"), NULL, vocabulary);
    }
    t->has_mask = is_token(t, MASK, special_tokens[MASK]);
    return 1;
}

/* The tokens that the library would look for in a text, if they were not special: of ours all are. */
static int read_added_tokens(const tokenizer *t, json added, char *fault)
{
    const place here = {json_of("\"added_tokens\""), NULL};
    for (json item = json_first(added); item.at; item = json_next(added, item)) {
        char text[8] = {0};
        if (!matches(&here, json_of(added_token), item, fault))
            return 0;
        const int32_t id = id_of(json_field(item, "id"), MASK + t->has_mask);
        if (id < 0 || json_string(json_field(item, "content"), text, 7) < 0 || !is_token(t, id, text))
            return refuse(fault, json_of("one of the special tokens in added_tokens"), NULL, item);
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
            return refuse(fault, json_of("a pair of tokens in merges"), NULL, item);
        merge *m = t->merges + rank;
        *m = (merge){*find_id(t, scratch, n), *find_id(t, scratch + n, more), *find_id(t, scratch, n + more)};
        if (m->left < 0 || m->right < 0 || m->merged < 0)
            return refuse(fault, json_of("a merge of two tokens into a third"), NULL, item);
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

/* The kind of a file that has the right keys; -1 if it is none of ours. */
static int kind_of(json file, int bpe, char *fault)
{
    const json cutter = json_field(file, "pre_tokenizer");
    const json split = bpe ? json_first(json_field(cutter, "pretokenizers")) : cutter;
    const json pattern = json_field(json_field(split, "pattern"), "Regex");
    if (!bpe && same(pattern, json_of(character_pattern)))
        return CHARACTER;
    if (same(pattern, json_of(piece_pattern)))
        return bpe ? BPE : WORD;
    refuse(fault, json_of("the regular expression for characters or for words"), NULL, pattern);
    return -1;
}

/* Read the text of a tokenizer.json into `memory`, aligned to 8, which begins with the `tokenizer`; with `memory` NULL
   only the bytes that it takes are found. Returns them; 0: refused, and `fault`, of FAULT_SIZE characters, says why. */
count read_tokenizer(const char *text, count length, char *memory, char *fault)
{
    const json file = {text, text + length};
    fault[0] = 0;
    if (length > INT32_MAX || !json_valid(file) || json_kind(file) != '{')
        return refuse(fault, json_of("a JSON object of less than 2 GB"), NULL, json_of("something else"));
    const json model = json_field(file, "model"), vocabulary = json_field(model, "vocab");
    const json merges = json_field(model, "merges");
    const int bpe = same(json_field(model, "type"), json_of("\"BPE\""));
    if (!matches(NULL, json_of(bpe ? byte_pairs : word_level), file, fault))
        return 0;
    tokenizer t = {.kind = kind_of(file, bpe, fault)};
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
