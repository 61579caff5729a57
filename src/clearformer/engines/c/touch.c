/* Look at a pass and change it: named numbers between the parts, which touches keep, scale or replace.

   "decoder.layers.0.attention" is what the module of that name returns in PyTorch, with ".input" what it reads; the
   core's ".queries", ".keys", ".values" and ".weights" are those of attention, after norms and rotary positions. */

#include "transformer.h"

/* What follows the name of a stack or, between its input and its output, of a layer; and axes: heads (1: no such axis),
   tokens, columns. W is the width of linear1. */
static const struct {
    const char *name, *axes;
} PLACE[PLACES] = {
    [STACK_INPUT] = {".input", "1TD"},
    [SELF_INPUT] = {".attention.input", "1TD"},
    [SELF_QUERIES] = {".attention.core.queries", "HTE"},
    [SELF_KEYS] = {".attention.core.keys", "GTE"},
    [SELF_VALUES] = {".attention.core.values", "GTE"},
    [SELF_WEIGHTS] = {".attention.core.weights", "HTT"},
    [SELF_CORE] = {".attention.core", "HTE"},
    [SELF_OUTPUT] = {".attention", "1TD"},
    [SELF_RESIDUAL] = {".attention_residual", "1TD"},
    [CROSS_INPUT] = {".cross_attention.input", "1TD"},
    [CROSS_QUERIES] = {".cross_attention.core.queries", "HTE"},
    [CROSS_KEYS] = {".cross_attention.core.keys", "GSE"},
    [CROSS_VALUES] = {".cross_attention.core.values", "GSE"},
    [CROSS_WEIGHTS] = {".cross_attention.core.weights", "HTS"},
    [CROSS_CORE] = {".cross_attention.core", "HTE"},
    [CROSS_OUTPUT] = {".cross_attention", "1TD"},
    [CROSS_RESIDUAL] = {".cross_attention_residual", "1TD"},
    [FEED_FORWARD_INPUT] = {".feed_forward.input", "1TD"},
    [LINEAR1] = {".feed_forward.linear1", "1TW"},
    [LINEAR2_INPUT] = {".feed_forward.linear2.input", "1TF"},
    [FEED_FORWARD_OUTPUT] = {".feed_forward", "1TD"},
    [FEED_FORWARD_RESIDUAL] = {".feed_forward_residual", "1TD"},
    [STACK_OUTPUT] = {"", "1TD"},
};

/* The number of the first place of a layer; its others follow. */
count first_place(const model *m, const stack *s, count index)
{
    return (s->causal * m->c.L + index) * PLACES;
}

/* All places have numbers below this. */
count end_of_places(const model *m)
{
    return 2 * m->c.L * PLACES;
}

/* Name and sizes of place `number`, in a pass of T tokens and, of an encoder-decoder, S of its source. Returns 0 where
   this model has no such place. */
int find_place(const model *m, count number, count T, count S, place *found)
{
    const config *c = &m->c;
    const int what = (int)(number % PLACES), causal = number >= c->L * PLACES, both = c->family == FAMILY_TRANSFORMER;
    const count index = number / PLACES % c->L, length = both && !causal ? S : T;
    if (number >= end_of_places(m) || !(causal ? has_decoder(c) : has_encoder(c)) ||
        (what >= CROSS_INPUT && what <= CROSS_RESIDUAL && !(causal && both)) ||
        (what == STACK_INPUT && index > 0) || (what == STACK_OUTPUT && index < c->L - 1))
        return 0;
    const name none = {0}, body = join(none, c->family == FAMILY_CLASSIFIER ? "body." : "");
    name at = join(body, causal ? "decoder" : "encoder");
    if (what > STACK_INPUT && what < STACK_OUTPUT)
        at = numbered(join(at, ".layers."), index);
    const count sizes[] = {['H'] = c->H, ['G'] = c->G, ['T'] = length, ['S'] = S, ['D'] = c->D,
                           ['E'] = c->E, ['F'] = c->F, ['W'] = linear1_width(c)};
    const char *axes = PLACE[what].axes;
    *found = (place){join(at, PLACE[what].name), number, sizes[(int)axes[0]], sizes[(int)axes[1]], sizes[(int)axes[2]]};
    return 1;
}

/* Touches of all that follows in a room that is not for training, whose gradients would not know of them. */
void set_touches(room *r, const touch *at, count number)
{
    r->touches = (touches){.at = at, .number = number};
}

/* Keep or change columns `first` to `end` - 1 of x, which head h has for the token at position p of row b; beyond them
   zeros are kept. */
void touch_row(const touch *t, count b, count h, count p, float *x, count first, count end)
{
    const count width = t->columns.end - t->columns.first, low = first > t->columns.first ? first : t->columns.first;
    const count some = least(end, t->columns.end) - low, heads = t->heads.end - t->heads.first;
    if (h < t->heads.first || h >= t->heads.end || p < t->tokens.first || p >= t->tokens.end)
        return;
    if (t->action == SCALE) {
        for (count i = low; i < low + some; i++)
            x[i] *= t->factor;
        return;
    }
    const count head = (t->B > 1 ? b * heads : 0) + h - t->heads.first;
    float *at = t->at + (head * (t->tokens.end - t->tokens.first) + p - t->tokens.first) * width;
    if (t->action == KEEP)
        memset(at, 0, width * sizeof(float));
    if (some > 0)
        memcpy(t->action == KEEP ? at + low - t->columns.first : x + low,
               t->action == KEEP ? x + low : at + low - t->columns.first, some * sizeof(float));
}

/* All touches of one place of the layer that is running, on its numbers x, [B, number, T, width]. */
void touch_place(const touches *all, int what, const batch *b, heads x, count number, count width)
{
    for (count k = 0; k < all->number; k++)
        for (count row = 0; all->at[k].place == all->first + what && row < b->B; row++)
            for (count h = 0; h < number; h++)
                for (count t = 0; t < b->T; t++)
                    touch_row(all->at + k, row, h, (b->past ? b->past->lengths[row] : 0) + t,
                              x.at + row * x.batch + h * x.head + t * x.row, 0, width);
}
