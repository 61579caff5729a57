/* ./transformer [OPTIONS] [TEXT ...]: use an exported run, whose files lie beside the program. */

#include <float.h>

#include "program.h"

static const struct {
    const char *name, *meaning, *expected;
    int32_t family, whole;
    double usual, least, most;
} flags[OPTIONS] = {
    [MAX_NEW_TOKENS] = {"--max-new-tokens", "how many tokens to generate", "1 or more", FAMILY_GPT, 1, 200, 1, 1e9},
    [TEMPERATURE] = {"--temperature", "0 takes the likeliest token; 1 samples from the model's distribution",
                     "0 (greedy) or more", FAMILY_GPT, 0, 0.8, 0, DBL_MAX},
    [TOP_K] = {"--top-k", "sample from this many of the likeliest tokens; 0 is all", "0 (all) or more", FAMILY_GPT, 1,
               0, 0, 1e9},
    [TOP_P] = {"--top-p", "sample from the fewest tokens that together have this probability",
               "above 0 and at most 1", FAMILY_GPT, 0, 1, DBL_MIN, 1},
    [SEED] = {"--seed", "the same seed gives the same text", "0 or more", FAMILY_GPT, 1, 1, 0, UINT32_MAX},
    [BEAM] = {"--beam", "hypotheses for each text; 1 is greedy", "from 1 (greedy) to 1000", FAMILY_TRANSFORMER, 1, 4, 1,
              1000},
    [LENGTH_PENALTY] = {"--length-penalty", "0 ranks by probability; larger values favour longer translations",
                        "0 (none) or more", FAMILY_TRANSFORMER, 0, 0.6, 0, DBL_MAX},
    [TOP] = {"--top", "how many of the likeliest classes to print", "1 or more", FAMILY_CLASSIFIER, 1, 1, 1, 1e9},
};

static _Noreturn void show_help(const program *p)
{
    static const char *const uses[] = {"translates each TEXT", "continues each TEXT", "fills in each <mask> of a TEXT",
                                       "classifies each TEXT; a tab separates those that are read together"};
    printf("usage: transformer [options] [--] [TEXT ...]\n\nIt %s; without any, each line of standard input.\n",
           uses[p->m->c.family]);
    for (int i = 0; i < OPTIONS; i++)
        if (flags[i].family == p->m->c.family)
            printf("  %-18s %s (%g)\n", flags[i].name, flags[i].meaning, flags[i].usual);
    exit(0);
}

static void read_flag(program *p, const char *name, const char *value)
{
    int i = 0;
    char *end = NULL;
    while (i < OPTIONS && (strcmp(flags[i].name, name) || flags[i].family != p->m->c.family))
        i++;
    if (i == OPTIONS)
        fail("the flag %s is unknown; see --help, or write -- before texts", name);
    const double number = value ? strtod(value, &end) : NAN;
    const int is_whole = !flags[i].whole || number == floor(number);
    if (!is_whole || !(number >= flags[i].least && number <= flags[i].most) || end == value || *end)
        fail("%s must be %s, found %s; change it", name, flags[i].expected, value ? value : "nothing");
    p->options[i] = number;
}

/* Options come first; what remains are texts. */
static void read_arguments(program *p, char **arguments)
{
    for (int i = 0; i < OPTIONS; i++)
        p->options[i] = flags[i].usual;
    for (; *arguments && (*arguments)[0] == '-' && (*arguments)[1] == '-'; arguments += 2) {
        if (!(*arguments)[2]) {
            arguments++;
            break;
        }
        if (strcmp(*arguments, "--help") == 0)
            show_help(p);
        read_flag(p, arguments[0], arguments[1]);
    }
    p->arguments = *arguments ? arguments : NULL;
}

/* The path of a file beside the program. */
static char *beside(const char *path, const char *name)
{
    count length = (count)strlen(path);
    while (length && path[length - 1] != '/' && path[length - 1] != '\\')
        length--;
    char *found = allocate(length + (count)strlen(name));
    memcpy(found, path, (size_t)length);
    strcpy(found + length, name);
    return found;
}

/* A file that may be missing: then `at` is NULL. */
static text read_if_there(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return (text){NULL, 0};
    fclose(file);
    return read_file(path);
}

static const model *read_model(const char *path)
{
    const text configuration = read_file(beside(path, "config.json"));
    const text weights = read_file(beside(path, "model.safetensors"));
    config c;
    if (!read_configuration((json){configuration.at, configuration.at + configuration.length}, &c, fault))
        stop("config.json: ");
    const count bytes = open_model(configuration.at, configuration.length, weights.at, weights.length, NULL, fault);
    char *memory = allocate(bytes);
    if (!open_model(configuration.at, configuration.length, weights.at, weights.length, memory, fault))
        stop("model.safetensors: ");
    return (const model *)memory;
}

static const tokenizer *read_vocabulary(const char *path, const config *c)
{
    const text file = read_file(beside(path, "tokenizer.json"));
    const text names = read_if_there(beside(path, "special_tokens_map.json"));
    char *memory = allocate(read_tokenizer(file.at, file.length, names.at, names.length, NULL, fault));
    if (!read_tokenizer(file.at, file.length, names.at, names.length, memory, fault))
        stop("");
    const tokenizer *t = (const tokenizer *)memory;
    const int fits = t->imported ? t->V <= c->V : t->V == c->V && t->V > MASK; /* an embedding may have spare rows */
    if (!fits || (c->family == FAMILY_BERT && t->roles[MASK] < 0))
        fail("a tokenizer of the model's %n tokens was expected, found one of %n; export the run again", (count)c->V,
             (count)t->V);
    return t;
}

/* The names of the classes, an array of strings in data.json. */
static json read_classes(const char *path, const config *c)
{
    const text file = read_file(beside(path, "data.json"));
    const json all = {file.at, file.at + file.length};
    const json classes = json_field(all, "classes");
    count number = 0;
    int valid = json_valid(all) && json_kind(classes) == '[';
    for (json name = json_first(classes); valid && name.at; name = json_next(classes, name), number++)
        valid = json_kind(name) == '"';
    if (!valid || number != c->C)
        fail("%n names of classes were expected in data.json, found others; export the run again", (count)c->C);
    return classes;
}

int main(int number, char **arguments)
{
    static void (*const uses[])(program *, text) = {translate, NULL, fill, classify};
    const char *path = number ? arguments[0] : "";
    program p = {.m = read_model(path)};
    const int family = p.m->c.family;
    text x;
    p.t = read_vocabulary(path, &p.m->c);
    if (family == FAMILY_CLASSIFIER)
        p.classes = read_classes(path, &p.m->c);
    read_arguments(&p, arguments + (number > 0));
    if (family == FAMILY_GPT)
        generate(&p);
    else
        for (; next_text(&p, &x); free(x.at))
            uses[family](&p, x);
    if (p.truncated)
        fprintf(stderr, "%lld of %lld texts are too long for the context of %d tokens: truncated\n",
                (long long)p.truncated, (long long)p.classified, p.m->c.context);
    if (p.unknown)
        fprintf(stderr, "%lld tokens of the input were not in the vocabulary and read as <unk>\n",
                (long long)p.unknown);
    return 0;
}
