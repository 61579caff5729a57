/* What an imported vocabulary has beyond ours: scores, added tokens, and special ones with any ids. */

#include "charsmap.h"
#include "matching.h"
#include "normalizer.h"
#include "parts.h"
#include "subwords.h"
#include "vocabulary.h"

static const char added_form[] = JSON({"id": 0, "content": "", "single_word": "true?", "lstrip": "true?",
    "rstrip": "true?", "normalized": "true?", "special": "true?"});
static const char *const role_names[ROLES] = {"pad_token", "bos_token", "eos_token", "unk_token", "mask_token"};
enum { MOST_ADDED = 10000, UNKNOWN_PENALTY = 10 }; /* each is compared with all; as in the library */

/* Unigrams are pairs of a token and its score, in the order of their ids. Of one side of a translator's tokenizer, what
   stands behind the token that is a space alone are pieces that are no tokens. */
int read_unigrams(tokenizer *t, json vocabulary, char *fault)
{
    int32_t id = 0, V = t->V;
    for (json item = json_first(vocabulary); item.at; item = json_next(vocabulary, item), id++) {
        const json text = json_first(item), score = json_next(item, text);
        t->scores[id] = json_number(score);
        if (json_kind(item) != '[' || !isfinite(t->scores[id]) || json_next(item, score).at)
            return explain(fault, "a token and its score were expected, found %j" AGAIN, item);
        if (!take_token(t, text, id, fault))
            return 0;
        if (!id || t->scores[id] < t->unknown_score)
            t->unknown_score = t->scores[id];
        span *const shown = &t->tokens[id].shown;
        if (t->has_sides && shown->length && t->bytes[shown->start] == ' ') {
            *shown = (span){shown->start + 1, shown->length - 1};
            V = shown->length ? V : least(V, id);
        }
    }
    t->V = V;
    t->unknown_score -= UNKNOWN_PENALTY;
    return 1;
}

/* The id of a text in the vocabulary without added tokens; -1: it is none. */
static int32_t id_in_vocabulary(const tokenizer *t, json text)
{
    char *const at = t->bytes + t->used;
    const count length = to_bytes(t, at, json_string(text, at, t->room - t->used));
    return length < 0 ? -1 : *find_id(t, at, length);
}

/* Which token stands for what the vocabulary lacks; byte pairs may have none. */
static int read_unknown(tokenizer *t, json model, char *fault)
{
    const json name = json_field(model, "unk_token"), id = json_field(model, "unk_id");
    if (is_null(name) || (t->kind == BPE && json_kind(name) == '"'))
        return 1;
    t->unknown = t->kind == UNIGRAMS ? (int32_t)least(json_count(id), INT32_MAX) : id_in_vocabulary(t, name);
    return (t->unknown >= 0 && t->unknown < t->V) ||
           explain(fault, "a token for what the vocabulary lacks was expected, found %j" AGAIN, id.at ? id : name);
}

static int read_prefix(tokenizer *t, json text, span *to, char *fault)
{
    const count length = json_string(text, t->bytes + t->used, MOST_PREFIX);
    *to = (span){t->used, (int32_t)length};
    t->used += (int32_t)larger(length, 0);
    return length >= 0 ||
           explain(fault, "a prefix of at most %n bytes was expected, found %j" AGAIN, (count)MOST_PREFIX, text);
}

/* Copy a piece of the bytes to their end, where there is room for it: the file's text is longer. */
static char *copy(tokenizer *t, span from)
{
    return memcpy(t->bytes + t->used, t->bytes + from.start, (size_t)from.length);
}

/* What an added token is decoded from, and the token itself: one of the vocabulary, or the next after it. */
static int take_added(tokenizer *t, const added_token *x, int32_t vocabulary, json item, char *fault)
{
    char *const at = copy(t, x->shown);
    count length = to_bytes(t, at, x->shown.length);
    const int32_t known = length < 0 ? -1 : *find_id(t, at, length);
    if (length < 0)
        length = x->shown.length, copy(t, x->shown);
    const span own = x->id < vocabulary ? t->tokens[x->id].text : (span){0, 0};
    const int is_own = x->id < vocabulary && own.length == length &&
                       memcmp(t->bytes + own.start, at, (size_t)length) == 0;
    if (!is_own && (x->id != t->V || known >= 0))
        return explain(fault, "ids in the order of added_tokens were expected, found %j" AGAIN, item);
    if (!is_own) {
        const span taken = {t->used, (int32_t)length};
        t->tokens[t->V++] = (token){taken, taken, 0, -1};
        t->used += (int32_t)length;
    }
    return 1;
}

/* What an added token that was normalized is decoded from. */
static span shown_as(tokenizer *t, span text)
{
    const count length = to_bytes(t, copy(t, text), text.length);
    const span bytes = {t->used, (int32_t)length};
    t->used += (int32_t)larger(length, 0);
    return length < 0 ? text : bytes;
}

static int is_new(const tokenizer *t, const added_token *x)
{
    for (const added_token *other = t->added; other < x; other++)
        if (other->shown.length == x->shown.length &&
            memcmp(t->bytes + other->shown.start, t->bytes + x->shown.start, (size_t)x->shown.length) == 0)
            return 0;
    return 1;
}

/* The bytes of all added tokens. */
count bytes_of_added(json added)
{
    count n = 0;
    for (json item = json_first(added); item.at; item = json_next(added, item))
        n += larger(json_string(json_field(item, "content"), NULL, 0), 0);
    return n;
}

/* The room that an added token of so many bytes needs: in its own words, in those that stand for bytes, and normalized,
   between two steps, and in the bytes that this stands for. */
count room_of_added(const tokenizer *t, count length)
{
    return (2 + 3 * t->expansion) * length;
}

static int read_added(tokenizer *t, json added, char *fault)
{
    const place here = {json_of("\"added_tokens\""), json_of("tokenizer.json")};
    const int32_t vocabulary = t->V;
    added_token *x = t->added;
    if (t->number_of_added > MOST_ADDED)
        return explain(fault, "at most %n added_tokens were expected, found %n" AGAIN, (count)MOST_ADDED,
                       (count)t->number_of_added);
    for (json item = json_first(added); item.at; item = json_next(added, item), x++) {
        if (!matches(here, json_of(added_form), item, fault))
            return 0;
        const count id = json_count(json_field(item, "id"));
        const count length = json_string(json_field(item, "content"), t->bytes + t->used, t->room - t->used);
        const int has_room = room_of_added(t, length) <= t->room - t->used; /* a file of gigabytes has less */
        *x = (added_token){(int32_t)id, is_true(item, "single_word"), is_true(item, "lstrip"), is_true(item, "rstrip"),
                           is_true(item, "normalized"), {t->used, (int32_t)length}, {t->used, (int32_t)length}};
        t->used += (int32_t)larger(length, 0);
        if (length <= 0 || !has_room || id < 0 || id > t->V || !is_new(t, x))
            return explain(fault, "different added_tokens were expected, found %j" AGAIN, item);
        if (!take_added(t, x, vocabulary, item, fault))
            return 0;
        t->tokens[id].never |= (int16_t)is_true(item, "special");
        if (x->normalized && t->number_of_steps) {
            const char *const at = t->bytes + x->shown.start;
            char *const to = t->bytes + t->used, *const spare = to + t->expansion * length;
            x->sought = (span){t->used, (int32_t)normalize(t, at, at + length, to, spare)};
            t->used += x->sought.length;
            t->tokens[id].shown = shown_as(t, x->sought);
        }
        if (!x->sought.length)
            return explain(fault, "an added token that its normalizer leaves was expected, found %j" AGAIN, item);
    }
    return 1;
}

/* The id of a text among added tokens, or in the vocabulary; -1: it is none. */
static int32_t id_of(const tokenizer *t, json text)
{
    char *const at = t->bytes + t->used;
    const count length = json_string(text, at, t->room - t->used);
    for (int32_t i = 0; i < t->number_of_added; i++)
        if (t->added[i].shown.length == length && memcmp(t->bytes + t->added[i].shown.start, at, (size_t)length) == 0)
            return t->added[i].id;
    return id_in_vocabulary(t, text);
}

/* The special tokens by their roles, in special_tokens_map.json. */
static int read_roles(tokenizer *t, json names, char *fault)
{
    if (!json_valid(names) || json_kind(names) != '{')
        return explain(fault, "an object of JSON was expected in special_tokens_map.json, found something else" AGAIN);
    for (int role = 0; role < ROLES; role++) {
        const json name = json_field(names, role_names[role]);
        t->roles[role] = name.at ? id_of(t, name) : -1;
        if (name.at && t->roles[role] < 0)
            return explain(fault, "the %s of special_tokens_map.json was expected in the vocabulary, found %j" AGAIN,
                           role_names[role], name);
        if (name.at)
            t->tokens[t->roles[role]].never = 1;
    }
    return 1;
}

/* The byte that <0xNN> stands for; -1: it is no such token. */
static int16_t byte_of_name(const char *at, count length)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    if (length != 6 || memcmp(at, "<0x", 3) || at[5] != '>' || !at[3] || !at[4])
        return -1;
    const char *high = strchr(digits, at[3]), *low = strchr(digits, at[4]);
    if (!high || !low)
        return -1;
    const count first = high - digits, last = low - digits;
    return (int16_t)((first - (first > 15 ? 6 : 0)) * 16 + last - (last > 15 ? 6 : 0));
}

/* Read all that a vocabulary of tokens has beyond them. */
int read_special(tokenizer *t, json file, json names, char *fault)
{
    const json model = json_field(file, "model"), decoder = json_field(file, "decoder"), table = charsmap_in(file);
    if (t->number_of_steps && t->steps[0] == REPLACE_CHARACTERS && !read_charsmap(&t->replacements, table, fault))
        return 0;
    if (t->kind == WORD_PIECES && (!read_prefix(t, json_field(model, "continuing_subword_prefix"), &t->prefix, fault) ||
                                   !read_prefix(t, json_field(decoder, "prefix"), &t->shown_prefix, fault)))
        return 0;
    if (!read_unknown(t, model, fault) || !read_added(t, json_field(file, "added_tokens"), fault) ||
        !read_roles(t, names, fault) || !read_around(t, file, fault))
        return 0;
    for (int32_t id = 0; id < t->V; id++)
        t->tokens[id].byte = byte_of_name(t->bytes + t->tokens[id].shown.start, t->tokens[id].shown.length);
    return 1;
}
