/* Reading which tokens an imported tokenizer puts around a text. */

#include "matching.h"
#include "parts.h"

static const char by_bytes[] = JSON({"type": "ByteLevel", "add_prefix_space": "true?", "trim_offsets": "true?",
    "use_regex": "true?"});
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
            return refuse_part(fault, "one text", "post_processor", single);
        if (token.at && !add_special(t, texts, special, token, fault))
            return 0;
    }
    return texts == 1 || refuse_part(fault, "one text", "post_processor", single);
}

/* Read which tokens stand around a text; those of `roles` are known. */
int read_around(tokenizer *t, json file, char *fault)
{
    const json found = json_field(file, "post_processor"), both = json_field(found, "processors");
    if (is_null(found) || fits(by_bytes, found))
        return 1;
    if (fits(template, found))
        return read_template(t, found, fault);
    if (fits(template_after_bytes, found))
        return read_template(t, json_next(both, json_first(both)), fault);
    const json first = json_field(found, "cls"), last = json_field(found, "sep");
    if (fits(bert_template, found) || fits(roberta_template, found))
        return add_around(t, 0, json_next(first, json_first(first)), fault) &&
               add_around(t, 1, json_next(last, json_first(last)), fault);
    return refuse_part(fault, "null, ByteLevel, or a template", "post_processor", found);
}
