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

/* A part that C does not read; `known` names those that it does. */
int refuse_part(char *fault, const char *known, const char *name, json found)
{
    return explain(fault, "%s was expected as the %s of tokenizer.json, found %j" NOT_IN_C, known, name, found);
}

static int read_metaspace(tokenizer *t, json found, char *fault)
{
    const json scheme = json_field(found, "prepend_scheme");
    t->cut = is_true(found, "split") ? CUT_MARKS : CUT_NOWHERE;
    t->change = json_equals(scheme, "always") ? MARK_BEFORE : json_equals(scheme, "first") ? MARK_BEFORE_FIRST : MARKED;
    return t->change != MARKED || json_equals(scheme, "never") ||
           refuse_part(fault, "always, first or never", "prepend_scheme", scheme);
}

static int read_pre_tokenizer(tokenizer *t, json found, char *fault)
{
    if (t->kind == BPE) {
        t->cut = fits(byte_level, found) ? CUT_GPT2 : fits(llama3, found) ? CUT_LLAMA3 : CUT_QWEN2;
        t->change = is_true(found, "add_prefix_space") ? SPACE_BEFORE : UNCHANGED;
        return t->cut != CUT_QWEN2 || fits(qwen2, found) ||
               refuse_part(fault, "that of GPT-2, Llama 3 or Qwen2", "pre_tokenizer", found);
    }
    if (t->kind == WORD_PIECES) {
        t->cut = CUT_WORDS;
        return fits(bert_words, found) || refuse_part(fault, "BertPreTokenizer", "pre_tokenizer", found);
    }
    if (is_null(found))
        return 1;
    if (fits(metaspace, found))
        return read_metaspace(t, found, fault);
    t->splits_words = 1;
    if (!fits(metaspace_of_words, found))
        return refuse_part(fault, "Metaspace or null", "pre_tokenizer", found);
    const json both = json_field(found, "pretokenizers");
    return read_metaspace(t, json_next(both, json_first(both)), fault);
}

static int read_decoder(tokenizer *t, json found, char *fault)
{
    if (t->kind == BPE) {
        t->decoding = AS_BYTES;
        return fits(bytes_decoder, found) || refuse_part(fault, "ByteLevel", "decoder", found);
    }
    if (t->kind == WORD_PIECES) {
        t->decoding = AS_WORD_PIECES;
        t->cleans_up = is_true(found, "cleanup");
        return fits(word_pieces_decoder, found) || refuse_part(fault, "WordPiece", "decoder", found);
    }
    const int never = json_equals(json_field(found, "prepend_scheme"), "never");
    t->decoding = fits(sentence_decoder, found) ? AS_SENTENCE : never ? AS_MARKS : AS_LATER_MARKS;
    t->has_sides = t->kind == UNIGRAMS && fits(sides_decoder, found);
    return t->decoding == AS_SENTENCE || t->has_sides || fits(metaspace, found) ||
           refuse_part(fault, "Metaspace, or Replace, ByteFallback, Fuse and Strip,", "decoder", found);
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
           refuse_part(fault, "BPE without affixes, WordPiece or Unigram", "model", model);
}

/* Read what the parts do; the first one that C does not read is named. Returns whether all are read. */
int read_parts(tokenizer *t, json file, char *fault)
{
    return keys_match(json_of("tokenizer.json"), json_of(imported), file, fault) && read_model(t, file, fault) &&
           read_pre_tokenizer(t, json_field(file, "pre_tokenizer"), fault) &&
           read_normalizer(t, json_field(file, "normalizer"), fault) &&
           read_decoder(t, json_field(file, "decoder"), fault);
}
