/* A BERT fills in each <mask> of a text, as `clearformer.generation.fill` does: all at once, each with one token.

   Tokens of words include the space before them, so that one that begins with a space fills " <mask>", and another
   "un<mask>": the text around a mask stays as it was typed. */

#include "program.h"

static const char hole[] = "<mask>";

enum { NEVER, BARE, SPACED }; /* how a token fills a hole */

static char kind_of(const program *p, int32_t token)
{
    const text label = text_of(p, &token, 1, NULL);
    char kind = is_never_written(p->t, token) || token == p->t->roles[MASK] ? NEVER : BARE;
    if (kind == BARE && label.length > 1 && label.at[0] == ' ')
        kind = SPACED;
    for (count i = 0; i + 3 <= label.length; i++)
        if (memcmp(label.at + i, "\xEF\xBF\xBD", 3) == 0) /* U+FFFD: of a part of a character */
            kind = NEVER;
    free(label.at);
    return kind;
}

/* The kinds of all tokens, once, and which there are. */
static void find_kinds(program *p)
{
    if (p->kinds)
        return;
    p->kinds = allocate(p->t->V);
    for (int32_t token = 0; token < p->t->V; token++) {
        p->kinds[token] = kind_of(p, token);
        p->has_bare |= p->kinds[token] == BARE;
        p->has_spaced |= p->kinds[token] == SPACED;
    }
}

/* Cut off the text before the next hole, or all that is left. Returns whether a hole follows it. */
static int next_piece(text *rest, text *piece)
{
    const count width = sizeof hole - 1;
    for (count i = 0; i + width <= rest->length; i++)
        if (memcmp(rest->at + i, hole, (size_t)width) == 0) {
            *piece = (text){rest->at, i};
            *rest = (text){rest->at + i + width, rest->length - i - width};
            return 1;
        }
    *piece = *rest;
    return 0;
}

/* Whether the token that fills the hole after a piece has its last space. */
static int is_spaced(const program *p, text piece)
{
    return p->has_spaced && piece.length && piece.at[piece.length - 1] == ' ';
}

static int32_t likeliest(const program *p, const float *logits, int spaced)
{
    int32_t best = -1;
    check_logits(p->m->c.V, logits);
    for (int32_t i = 0; i < p->t->V; i++) {
        const int fits = spaced ? p->kinds[i] == SPACED : p->has_bare ? p->kinds[i] == BARE : p->kinds[i] != NEVER;
        if (fits && (best < 0 || logits[i] > logits[best]))
            best = i;
    }
    if (best < 0)
        fail("a vocabulary with a token that can fill a hole was expected, found none");
    return best;
}

/* The tokens of a text, MASK for each hole, without the space before it if its token has one. */
static ids encode_holes(program *p, text x)
{
    ids tokens = {allocate((most_tokens(p->t, x.length) + x.length + 1) * (count)sizeof(int32_t)), 0};
    text piece;
    for (int more = 1; more;) {
        more = next_piece(&x, &piece);
        piece.length -= more && is_spaced(p, piece);
        const ids some = encode(p, piece);
        memcpy(tokens.at + tokens.n, some.at, (size_t)some.n * sizeof(int32_t));
        tokens.n += some.n;
        free(some.at);
        if (more)
            tokens.at[tokens.n++] = p->t->roles[MASK];
    }
    return with_around(p, tokens);
}

/* Print a text with its holes filled, on a line. */
void fill(program *p, text x)
{
    const config *c = &p->m->c;
    text piece;
    find_kinds(p);
    if (!next_piece(&(text){x.at, x.length}, &piece))
        fail("a text with a hole to fill was expected, found none; type <mask> for the hole");
    const ids tokens = encode_holes(p, x);
    if (tokens.n > c->context)
        fail("a text of at most %n tokens was expected, the model's context, found %n; shorten it", (count)c->context,
             tokens.n);
    room *r = room_for(p, 1, tokens.n, 0, 0);
    int32_t *segments = memset(allocate(tokens.n * (count)sizeof(int32_t)), 0, (size_t)tokens.n * sizeof(int32_t));
    float *features = features_of(p, tokens, segments, r), *logits = allocate(c->V * (count)sizeof(float));
    for (count i = 0; next_piece(&x, &piece); i++) {
        const int spaced = is_spaced(p, piece);
        while (tokens.at[i] != p->t->roles[MASK])
            i++;
        token_logits(p->m, 1, features + i * c->D, logits, r);
        const int32_t token = likeliest(p, logits, spaced);
        fwrite(piece.at, 1, (size_t)(piece.length - spaced), stdout);
        print_tokens(p, &token, 1, NULL);
    }
    fwrite(piece.at, 1, (size_t)piece.length, stdout);
    printf("\n");
    fflush(stdout);
    free(tokens.at);
    free(segments);
    free(logits);
}
