/* Reading the normalizer of an imported tokenizer: the steps that it takes, one after the other. */

#include "charsmap.h"
#include "matching.h"
#include "normalizer.h"
#include "parts.h"

static const char bert[] = JSON({"type": "BertNormalizer", "clean_text": "true?", "handle_chinese_chars": "true?",
    "strip_accents": "?", "lowercase": "true?"});
static const char sequence[] = JSON({"type": "Sequence", "normalizers": []});
static const char strip[] = JSON({"type": "Strip", "strip_left": "true?", "strip_right": "true?"});

/* Those that are the same wherever they stand; "" is any text. */
static const struct {
    const char *form;
    enum step step;
} known[] = {
    {JSON({"type": "NFC"}), COMPOSE},
    {JSON({"type": "NFD"}), DECOMPOSE},
    {JSON({"type": "Precompiled", "precompiled_charsmap": ""}), REPLACE_CHARACTERS},
    {JSON({"type": "Prepend", "prepend": "▁"}), PREPEND_MARK},
    {JSON({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}), MARK_SPACES},
    {JSON({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}), MARK_ROWS_OF_SPACES},
    {JSON({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}), JOIN_SPACES},
};

static int refuse(char *fault, const char *words, json found)
{
    return refuse_part(fault, words, "normalizer", found);
}

/* Take one more step, which no other is like. Only the first one may make a text longer by more than its marks. */
static int add_step(tokenizer *t, enum step step)
{
    for (int i = 0; i < t->number_of_steps; i++)
        if (t->steps[i] == (int32_t)step)
            return 0;
    if (t->number_of_steps == MOST_STEPS || (step <= REPLACE_CHARACTERS && t->number_of_steps))
        return 0;
    t->steps[t->number_of_steps++] = step;
    t->expansion = step == REPLACE_CHARACTERS ? MOST_GROWTH + MARK_LENGTH : t->expansion;
    return 1;
}

/* Add the steps of one item. Byte pairs over bytes have no marks. */
static int add_steps(tokenizer *t, json found)
{
    if (fits(strip, found))
        return (!is_true(found, "strip_left") || add_step(t, STRIP_LEFT)) &&
               (!is_true(found, "strip_right") || add_step(t, STRIP_RIGHT));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (fits(known[i].form, found))
            return !(t->kind == BPE && known[i].step >= PREPEND_MARK) && add_step(t, known[i].step);
    return 0;
}

static int read_bert(tokenizer *t, json found, char *fault)
{
    const json accents = json_field(found, "strip_accents");
    t->cleans = is_true(found, "clean_text");
    t->spaces_chinese = is_true(found, "handle_chinese_chars");
    t->lowers = is_true(found, "lowercase");
    t->strips_accents = is_null(accents) ? t->lowers : json_is(accents, "true");
    return (fits(bert, found) && (is_null(accents) || strchr("tf", json_kind(accents))) && add_step(t, AS_BERT)) ||
           refuse(fault, "BertNormalizer", found);
}

/* Read the steps; the first one that C does not take is named. */
int read_normalizer(tokenizer *t, json found, char *fault)
{
    t->expansion = EXPANSION;
    if (is_null(found))
        return 1;
    if (t->kind == WORD_PIECES)
        return read_bert(t, found, fault);
    const char *const words = "NFC, NFD, Precompiled, Strip, Prepend or Replace of spaces";
    if (!fits(sequence, found))
        return add_steps(t, found) || refuse(fault, words, found);
    const json all = json_field(found, "normalizers");
    for (json item = json_first(all); item.at; item = json_next(all, item))
        if (!add_steps(t, item))
            return refuse(fault, words, item);
    return 1;
}

/* The table of a step that replaces characters, which is the first; none if there is none. */
json charsmap_in(json file)
{
    const json found = json_field(file, "normalizer"), first = json_first(json_field(found, "normalizers"));
    return json_field(first.at ? first : found, "precompiled_charsmap");
}
