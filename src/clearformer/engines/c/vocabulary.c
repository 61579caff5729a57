/* A run's tokenizer.json: as `clearformer.data.tokenizers` writes it, or, with special_tokens_map.json beside it, as it
   was imported. Nothing in it is trusted, and an option that the engine does not have is refused by name. */

#include "vocabulary.h"
#include "matching.h"
#include "parts.h"
#include "subwords.h"

/* What a file of clearformer's own holds. */
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
static const char added_form[] = JSON({"id": 0, "content": "", "single_word": false, "lstrip": false, "rstrip": false,
    "normalized": false, "special": true});
static const char character_pattern[] = JSON("[\\s\\S]");
static const char piece_pattern[] = JSON(" ?\\w+| ?[^\\s\\w]+|\\n|[^\\S\\n]+(?!\\S)|[^\\S\\n]");
static const char *const special_tokens[] = {"<pad>", "<bos>", "<eos>", "<unk>", "<mask>"};

/* The byte that a character of a byte-level token stands for; -1: none. Bytes that are visible characters of Latin-1
   stand for themselves, and U+0100 and what follows for the others in order. */
static int byte_of(uint32_t code)
{
    if ((code > 32 && code < 127) || (code > 160 && code < 256 && code != 173))
        return (int)code;
    const uint32_t other = code - 256;
    return other > 67 ? -1 : other < 33 ? (int)other : other < 67 ? (int)other + 94 : 173;
}

/* Of tokens over bytes, put those that the characters stand for into their place. Returns their number; -1: a character
   stands for none. */
count to_bytes(const tokenizer *t, char *at, count length)
{
    count n = 0;
    uint32_t code;
    if (t->kind != BPE || length < 0)
        return length;
    for (const char *from = at, *const end = at + length; from < end; n++) {
        from += utf8(from, end, &code);
        const int byte = byte_of(code);
        if (byte < 0)
            return -1;
        at[n] = (char)byte;
    }
    return n;
}

/* Take in a token. One of characters that stand for no bytes is written as it is, and no text is encoded as it. */
int take_token(tokenizer *t, json text, int32_t id, char *fault)
{
    char *const at = t->bytes + t->used;
    const count room = t->room - t->used, shown = json_string(text, at, room);
    count length = to_bytes(t, at, shown);
    int32_t *slot = length < 0 ? NULL : find_id(t, at, length);
    if (!slot && t->imported)
        length = json_string(text, at, room);
    if (length < 0)
        return explain(fault, "tokens of byte-level characters were expected, found %j" AGAIN, text);
    if (slot && *slot >= 0)
        return explain(fault, "different tokens were expected, found %j twice" AGAIN, text);
    if (slot)
        *slot = id;
    const span own = {t->used, (int32_t)length};
    t->tokens[id] = (token){own, own, 0, -1};
    t->longest = (int32_t)larger(t->longest, length);
    t->used += (int32_t)length;
    return 1;
}

static int read_vocabulary(tokenizer *t, json vocabulary, char *fault)
{
    for (json key = json_first(vocabulary), value; key.at; key = json_next(vocabulary, value)) {
        value = json_next(vocabulary, key);
        const count id = json_count(value);
        if (id < 0 || id >= t->V || t->tokens[id].text.length >= 0)
            return explain(fault, "an id for each token was expected, from 0 on, found %j for %j" AGAIN, value, key);
        if (!take_token(t, key, (int32_t)id, fault))
            return 0;
    }
    return 1;
}

/* The tokens of bytes; tokens over bytes have one for each. */
static int find_bytes(tokenizer *t, char *fault)
{
    static const char digits[] = "0123456789ABCDEF";
    for (int byte = 0; byte < 256; byte++) {
        const char name[] = {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
        t->byte_tokens[byte] = t->kind == BPE ? *find_id(t, (char[]){(char)byte}, 1) : *find_id(t, name, sizeof name);
        if (t->kind == BPE && t->byte_tokens[byte] < 0)
            return explain(fault, "a token for each byte was expected, found none for %n" AGAIN, (count)byte);
    }
    return 1;
}

static int is_token(const tokenizer *t, int32_t id, const char *text)
{
    return *find_id(t, text, (count)strlen(text)) == id;
}

/* The special tokens of clearformer's own vocabularies come first. */
static int read_own_roles(tokenizer *t, char *fault)
{
    for (int id = 0; id < MASK; id++) {
        if (!is_token(t, id, special_tokens[id]))
            return explain(fault, "the token %s was expected with id %n, found another" AGAIN, special_tokens[id],
                           (count)id);
        t->roles[id] = id;
        t->tokens[id].never = 1;
    }
    t->roles[MASK] = is_token(t, MASK, special_tokens[MASK]) ? MASK : -1;
    t->unknown = UNK;
    return 1;
}

/* The library looks for added tokens in a text, unless they are special as those of `special_tokens` are. */
static int read_own_added(const tokenizer *t, json added, char *fault)
{
    const place here = {json_of("\"added_tokens\""), json_of("tokenizer.json")};
    for (json item = json_first(added); item.at; item = json_next(added, item)) {
        if (!matches(here, json_of(added_form), item, fault))
            return 0;
        const count id = json_count(json_field(item, "id")), number = MASK + (t->roles[MASK] >= 0);
        if (id < 0 || id >= number || !json_equals(json_field(item, "content"), special_tokens[id]))
            return explain(fault, "only special tokens were expected as added_tokens, found %j" AGAIN, item);
    }
    return 1;
}

/* Read the two tokens of a merge, ["a", "b"] or "a b", one behind the other. Returns the bytes of the first, and sets
   those of the second, which are -1 if they are no tokens. */
static count read_pair(const tokenizer *t, json item, char *to, count room, count *more)
{
    const json left = json_first(item), right = json_next(item, left);
    *more = -1;
    if (json_kind(item) == '[') {
        const count n = to_bytes(t, to, json_string(left, to, room));
        *more = n < 0 || json_next(item, right).at ? -1 : to_bytes(t, to + n, json_string(right, to + n, room - n));
        return n;
    }
    const count length = t->imported ? json_string(item, to, room) : -1;
    char *const space = length > 0 ? memchr(to, ' ', (size_t)length) : NULL;
    if (!space || memchr(space + 1, ' ', (size_t)(to + length - space - 1)))
        return -1;
    const count n = to_bytes(t, to, space - to), rest = to_bytes(t, space + 1, to + length - space - 1);
    if (n >= 0 && rest >= 0)
        memmove(to + n, space + 1, (size_t)rest);
    *more = rest;
    return n;
}

/* Of a pair that has two ranks the later one counts, as in the library. */
static int read_merges(tokenizer *t, json merges, char *fault)
{
    char *const scratch = t->bytes + t->used;
    int32_t rank = 0;
    for (json item = json_first(merges); item.at; item = json_next(merges, item), rank++) {
        count more;
        const count n = read_pair(t, item, scratch, t->room - t->used, &more);
        if (n < 0 || more < 0)
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
static count lay_out(tokenizer *t, json file, char *memory)
{
    const json model = json_field(file, "model"), vocabulary = json_field(model, "vocab");
    const json added = json_field(file, "added_tokens");
    const json table = t->imported ? charsmap_in(file) : (json){NULL, NULL};
    count used = 0;
    t->V = (int32_t)(items(vocabulary) / (t->kind == UNIGRAMS ? 1 : 2));
    t->number_of_merges = (int32_t)items(json_field(model, "merges"));
    t->number_of_added = t->imported ? (int32_t)items(added) : 0;
    const count more = t->imported ? room_of_added(t, bytes_of_added(added)) : 0;
    const count room = 2 * (vocabulary.end - vocabulary.at) + more + ROOM_OF_PREFIXES;
    t->room = (int32_t)least(room, INT32_MAX);
    take(memory, &used, sizeof(tokenizer));
    t->tokens = take(memory, &used, (t->V + t->number_of_added) * (count)sizeof(token));
    t->merges = take(memory, &used, t->number_of_merges * (count)sizeof(merge));
    t->ids = take_table(memory, &used, t->V);
    t->ranks = take_table(memory, &used, t->number_of_merges);
    t->added = take(memory, &used, t->number_of_added * (count)sizeof(added_token));
    t->scores = take(memory, &used, t->kind == UNIGRAMS ? t->V * (count)sizeof(double) : 0);
    t->bytes = take(memory, &used, t->room);
    t->replacements.trie = take(memory, &used, table.end - table.at);
    for (count id = 0; memory && id < t->V + t->number_of_added; id++)
        t->tokens[id] = (token){{0, -1}, {0, -1}, 0, -1};
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
   only the bytes that it takes are found. `names` is the text of an imported one's special_tokens_map.json, NULL for
   clearformer's own. Returns the bytes; 0: refused, and `fault`, of FAULT_SIZE characters, says why. */
count read_tokenizer(const char *text, count length, const char *names, count names_length, char *memory, char *fault)
{
    const json file = {text, text + length}, roles = {names, names ? names + names_length : NULL};
    tokenizer t = {.imported = names != NULL, .decoding = AS_BYTES, .unknown = -1};
    fault[0] = 0;
    if (length > INT32_MAX || !json_valid(file) || json_kind(file) != '{')
        return explain(fault, "an object of JSON was expected, found something else" AGAIN);
    if (!t.imported)
        t.kind = kind_of(file, fault);
    if (t.imported ? !read_parts(&t, file, fault) : t.kind < 0)
        return 0;
    if (t.kind == NUMBER)
        t.decoding = WITH_SPACES;
    const count used = lay_out(&t, file, memory);
    const json model = json_field(file, "model"), vocabulary = json_field(model, "vocab");
    if (!memory)
        return used;
    if (!(t.kind == UNIGRAMS ? read_unigrams(&t, vocabulary, fault) : read_vocabulary(&t, vocabulary, fault)))
        return 0;
    const json added = json_field(file, "added_tokens");
    const int has_special = t.imported ? read_special(&t, file, roles, fault)
                                       : read_own_roles(&t, fault) && read_own_added(&t, added, fault);
    if (!has_special || !find_bytes(&t, fault) || !read_merges(&t, json_field(model, "merges"), fault))
        return 0;
    *(tokenizer *)memory = t;
    return used;
}
