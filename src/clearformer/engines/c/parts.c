/* What an imported tokenizer does with a text: those parts of the `tokenizers` package that models of the formats that
   clearformer imports have. Any other is refused by name. */

#include "parts.h"
#include "matching.h"

#define NOT_IN_C ", which the C engine does not read; use the run with clearformer's other commands"

static const char imported[] = JSON({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": "?",
    "pre_tokenizer": "?", "post_processor": "?", "decoder": "?", "model": "?"
});

/* The pattern of Llama 3, and with single digits that of Qwen2. */
#define SPLIT(digits)                                                                                                  \
    JSON({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex":) "\""                           \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits                              \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+" "\""                         \
    JSON(}, "behavior": "Isolated", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false,                 \
        "trim_offsets": "true?", "use_regex": false}]})
static const char llama3[] = SPLIT("{1,3}");
static const char qwen2[] = SPLIT("");
static const char byte_level[] = JSON({"type": "ByteLevel", "add_prefix_space": "true?", "trim_offsets": "true?",
    "use_regex": true});
static const char bert_words[] = JSON({"type": "BertPreTokenizer"});
static const char metaspace[] = JSON({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "", "split": "true?"});
static const char metaspace_of_words[] = JSON({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "", "split": "true?"}]});
static const char bert_normalizer[] = JSON({"type": "BertNormalizer", "clean_text": "true?",
    "handle_chinese_chars": "true?", "strip_accents": "?", "lowercase": "true?"});
static const char marks[] = JSON({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
static const char bytes_decoder[] = JSON({"type": "ByteLevel", "add_prefix_space": "true?", "trim_offsets": "true?",
    "use_regex": "true?"});
static const char word_pieces_decoder[] = JSON({"type": "WordPiece", "prefix": "", "cleanup": "true?"});
static const char sentence_decoder[] = JSON({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
static const char sides_decoder[] = JSON({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": " "}, "content": ""},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": "true?"}]});
static const char byte_pairs[] = JSON({"type": "BPE", "dropout": null, "unk_token": "?",
    "continuing_subword_prefix": "?", "end_of_word_suffix": "?", "fuse_unk": "true?", "byte_fallback": "true?",
    "ignore_merges": "true?", "vocab": {}, "merges": []});
static const char word_pieces[] = JSON({"type": "WordPiece", "unk_token": "", "continuing_subword_prefix": "",
    "max_input_chars_per_word": 0, "vocab": {}});
static const char unigrams[] = JSON({"type": "Unigram", "unk_id": 0, "vocab": [], "byte_fallback": false});
static const char template[] = JSON({"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}});
static const char text_form[] = JSON({"Sequence": {"id": "", "type_id": 0}});
static const char special_form[] = JSON({"SpecialToken": {"id": "", "type_id": 0}});
static const char ids_form[] = JSON({"id": "", "ids": [], "tokens": []});
static const char bert_template[] = JSON({"type": "BertProcessing", "sep": ["", 0], "cls": ["", 0]});
static const char roberta_template[] = JSON({"type": "RobertaProcessing", "sep": ["", 0], "cls": ["", 0],
    "trim_offsets": "true?", "add_prefix_space": "true?"});
static const char template_after_bytes[] = JSON({"type": "Sequence", "processors": [
    {"type": "ByteLevel", "add_prefix_space": "true?", "trim_offsets": "true?", "use_regex": "true?"},
    {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}]});

static int fits(const char *form, json found)
{
    char fault[FAULT_SIZE];
    const place nowhere = {{NULL, NULL}, {NULL, NULL}};
    return matches(nowhere, json_of(form), found, fault);
}

static int is_null(json value)
{
    return json_is(value, "null");
}

static int is_true(json object, const char *name)
{
    return json_is(json_field(object, name), "true");
}

/* A part that C does not read; `known` names those that it does. */
static int refuse(char *fault, const char *known, const char *name, json found)
{
    return explain(fault, "%s was expected as the %s of tokenizer.json, found %j" NOT_IN_C, known, name, found);
}

static int read_metaspace(tokenizer *t, json found, char *fault)
{
    const json scheme = json_field(found, "prepend_scheme");
    t->cut = is_true(found, "split") ? CUT_MARKS : CUT_NOWHERE;
    t->change = json_equals(scheme, "always") ? MARK_BEFORE : json_equals(scheme, "first") ? MARK_BEFORE_FIRST : MARKED;
    return t->change != MARKED || json_equals(scheme, "never") ||
           refuse(fault, "always, first or never", "prepend_scheme", scheme);
}

static int read_pre_tokenizer(tokenizer *t, json found, char *fault)
{
    if (t->kind == BPE) {
        t->cut = fits(byte_level, found) ? CUT_GPT2 : fits(llama3, found) ? CUT_LLAMA3 : CUT_QWEN2;
        t->change = is_true(found, "add_prefix_space") ? SPACE_BEFORE : UNCHANGED;
        return t->cut != CUT_QWEN2 || fits(qwen2, found) ||
               refuse(fault, "that of GPT-2, Llama 3 or Qwen2", "pre_tokenizer", found);
    }
    if (t->kind == WORD_PIECES) {
        t->cut = CUT_WORDS;
        return fits(bert_words, found) || refuse(fault, "BertPreTokenizer", "pre_tokenizer", found);
    }
    if (is_null(found))
        return 1;
    if (fits(metaspace, found))
        return read_metaspace(t, found, fault);
    t->splits_words = 1;
    if (!fits(metaspace_of_words, found))
        return refuse(fault, "Metaspace or null", "pre_tokenizer", found);
    const json both = json_field(found, "pretokenizers");
    return read_metaspace(t, json_next(both, json_first(both)), fault);
}

static int read_normalizer(tokenizer *t, json found, char *fault)
{
    const json accents = json_field(found, "strip_accents");
    if (is_null(found))
        return 1;
    if (t->kind == BPE)
        return refuse(fault, "null", "normalizer", found);
    if (t->kind == WORD_PIECES) {
        t->change = AS_BERT;
        t->cleans = is_true(found, "clean_text");
        t->spaces_chinese = is_true(found, "handle_chinese_chars");
        t->lowers = is_true(found, "lowercase");
        t->strips_accents = is_null(accents) ? t->lowers : json_is(accents, "true");
        return (fits(bert_normalizer, found) && (is_null(accents) || strchr("tf", json_kind(accents)))) ||
               refuse(fault, "BertNormalizer", "normalizer", found);
    }
    if (t->change != UNCHANGED || !fits(marks, found))
        return refuse(fault, t->change == UNCHANGED ? "null, or Prepend and Replace," : "null", "normalizer", found);
    t->change = MARK_ALWAYS;
    return 1;
}

static int read_decoder(tokenizer *t, json found, char *fault)
{
    if (t->kind == BPE) {
        t->decoding = AS_BYTES;
        return fits(bytes_decoder, found) || refuse(fault, "ByteLevel", "decoder", found);
    }
    if (t->kind == WORD_PIECES) {
        t->decoding = AS_WORD_PIECES;
        t->cleans_up = is_true(found, "cleanup");
        return fits(word_pieces_decoder, found) || refuse(fault, "WordPiece", "decoder", found);
    }
    const int never = json_equals(json_field(found, "prepend_scheme"), "never");
    t->decoding = fits(sentence_decoder, found) ? AS_SENTENCE : never ? AS_MARKS : AS_LATER_MARKS;
    t->has_sides = t->kind == UNIGRAMS && fits(sides_decoder, found);
    return t->decoding == AS_SENTENCE || t->has_sides || fits(metaspace, found) ||
           refuse(fault, "Metaspace, or Replace, ByteFallback, Fuse and Strip,", "decoder", found);
}

static int is_nothing(json value)
{
    return is_null(value) || json_equals(value, "");
}

/* Sets the kind, and what of the model is no vocabulary. */
static int read_model(tokenizer *t, json file, char *fault)
{
    const json model = json_field(file, "model"), before = json_field(file, "pre_tokenizer");
    const int over_bytes = fits(byte_level, before) || fits(llama3, before) || fits(qwen2, before) ||
                           fits(bytes_decoder, json_field(file, "decoder"));
    t->kind = fits(word_pieces, model) ? WORD_PIECES : fits(unigrams, model) ? UNIGRAMS
            : over_bytes ? BPE : CHARACTER_PAIRS;
    t->falls_back = is_true(model, "byte_fallback");
    t->fuses_unknown = is_true(model, "fuse_unk");
    t->ignores_merges = is_true(model, "ignore_merges");
    t->most_characters = (int32_t)least(json_count(json_field(model, "max_input_chars_per_word")), INT32_MAX);
    if (t->kind == UNIGRAMS || (t->kind == WORD_PIECES && t->most_characters >= 0))
        return 1;
    const int has_affixes = !is_nothing(json_field(model, "continuing_subword_prefix")) ||
                            !is_nothing(json_field(model, "end_of_word_suffix"));
    return (fits(byte_pairs, model) && !has_affixes) ||
           refuse(fault, "BPE without affixes, WordPiece or Unigram", "model", model);
}

/* Read what the parts do; the first one that C does not read is named. Returns whether all are read. */
int read_parts(tokenizer *t, json file, char *fault)
{
    return keys_match(json_of("tokenizer.json"), json_of(imported), file, fault) && read_model(t, file, fault) &&
           read_pre_tokenizer(t, json_field(file, "pre_tokenizer"), fault) &&
           read_normalizer(t, json_field(file, "normalizer"), fault) &&
           read_decoder(t, json_field(file, "decoder"), fault);
}

/* One more token before the text, or behind it. In a text with holes only BOS and EOS are put there. */
static int add_around(tokenizer *t, int behind, json id, char *fault)
{
    const count index = json_count(id);
    if (index < 0 || index >= t->V || t->around_numbers[behind] == MOST_AROUND)
        return explain(fault, "ids of at most %n tokens around a text were expected in tokenizer.json, found %j" AGAIN,
                       (count)MOST_AROUND, id);
    if (t->roles[MASK] < 0 || index == t->roles[behind ? EOS : BOS])
        t->around[behind][t->around_numbers[behind]++] = (int32_t)index;
    return 1;
}

/* The ids that a template has for a token. */
static int add_special(tokenizer *t, int behind, json special_tokens, json name, char *fault)
{
    for (json key = json_first(special_tokens), value; key.at; key = json_next(special_tokens, value)) {
        value = json_next(special_tokens, key);
        const json ids = json_field(value, "ids");
        if (!same(key, name) || json_kind(ids) != '[')
            continue;
        for (json id = json_first(ids); id.at; id = json_next(ids, id))
            if (!add_around(t, behind, id, fault))
                return 0;
        return 1;
    }
    return explain(fault, "a special token of the post_processor was expected in tokenizer.json, found %j" AGAIN, name);
}

/* Whether all tokens of a template are known, and all texts are of a pair. */
static int is_whole(json pieces, json special_tokens)
{
    for (json item = json_first(pieces); item.at; item = json_next(pieces, item)) {
        const json text = json_field(item, "Sequence"), special = json_field(item, "SpecialToken");
        const json name = json_field(special, "id"), of = json_field(text, "id");
        int is_known = json_equals(of, "A") || json_equals(of, "B");
        for (json key = json_first(special_tokens); name.at && key.at && !is_known;
             key = json_next(special_tokens, json_next(special_tokens, key)))
            is_known = same(key, name);
        if (!is_known || !fits(text.at ? text_form : special_form, item) ||
            json_count(json_field(text.at ? text : special, "type_id")) < 0)
            return 0;
    }
    return 1;
}

static int are_special(json special_tokens)
{
    for (json key = json_first(special_tokens), value; key.at; key = json_next(special_tokens, value)) {
        value = json_next(special_tokens, key);
        const json ids = json_field(value, "ids"), tokens = json_field(value, "tokens");
        json id = json_first(ids), token = json_first(tokens);
        for (; id.at && token.at; id = json_next(ids, id), token = json_next(tokens, token))
            if (json_count(id) < 0 || json_kind(token) != '"')
                return 0;
        if (!fits(ids_form, value) || id.at || token.at)
            return 0;
    }
    return 1;
}

static int read_template(tokenizer *t, json found, char *fault)
{
    const json single = json_field(found, "single"), special = json_field(found, "special_tokens");
    int texts = 0;
    if (!is_whole(single, special) || !is_whole(json_field(found, "pair"), special) || !are_special(special))
        return explain(fault, "a template of tokens was expected as the post_processor, found %j" AGAIN, found);
    for (json item = json_first(single); item.at; item = json_next(single, item)) {
        const json token = json_field(json_field(item, "SpecialToken"), "id");
        if (!token.at && (texts++ || !json_equals(json_field(json_field(item, "Sequence"), "id"), "A")))
            return refuse(fault, "one text", "post_processor", single);
        if (token.at && !add_special(t, texts, special, token, fault))
            return 0;
    }
    return texts == 1 || refuse(fault, "one text", "post_processor", single);
}

/* Read which tokens stand around a text; those of `roles` are known. */
int read_around(tokenizer *t, json file, char *fault)
{
    const json found = json_field(file, "post_processor"), both = json_field(found, "processors");
    if (is_null(found) || fits(bytes_decoder, found))
        return 1;
    if (fits(template, found))
        return read_template(t, found, fault);
    if (fits(template_after_bytes, found))
        return read_template(t, json_next(both, json_first(both)), fault);
    const json first = json_field(found, "cls"), last = json_field(found, "sep");
    if (fits(bert_template, found) || fits(roberta_template, found))
        return add_around(t, 0, json_next(first, json_first(first)), fault) &&
               add_around(t, 1, json_next(last, json_first(last)), fault);
    return refuse(fault, "null, ByteLevel, or a template", "post_processor", found);
}
