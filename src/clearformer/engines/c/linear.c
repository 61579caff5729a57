/* A linear layer, y = x Wᵀ + b      dx = g W      dW = gᵀ x      db = Σ_n g_n

   With a few rows, time goes into reading the weights, which is fastest in the order in which they lie. With some, the
   rows are transposed, so that a vector holds one number of each; with many, panels of the weights are transposed, and
   each is read once for all rows. */

#include "transformer.h"

enum { PANEL = 2 * LANES, FEW = 6, MANY = 48, DEPTH = 256 };

/* Numbers that a thread needs: a panel's weights or, with some rows, its results. */
count linear_piece(count in)
{
    return larger(in, MANY) * PANEL;
}

/* Numbers that all threads share: some rows, transposed. */
count linear_shared(count in)
{
    return in * MANY;
}

static void add_bias(count N, count first, count width, count out, const float *bias, float *y)
{
    for (count i = 0; bias && i < N; i++)
        for (count j = first; j < first + width; j++)
            y[i * out + j] += bias[j];
}

static void few(count N, count in, count first, count width, count out, const float *x, affine w, float *y)
{
    for (count j = first; j < first + width; j++)
        for (count i = 0; i < N; i++)
            y[i * out + j] = inner_product(in, x + i * in, w.weight + j * in);
}

/* `columns` is x transposed, [in, whole vectors of N], `piece` has room for [width, whole vectors of N]. */
static void some(count N, count in, count first, count width, count out, float *columns, affine w, float *piece,
                 float *y)
{
    const count wide = whole_vectors(N);
    streamed_product(width, wide, in, (matrix){w.weight + first * in, in, 1}, (matrix){columns, wide, 1},
                     (matrix){piece, wide, 1});
    for (count i = 0; i < N; i++)
        for (count j = 0; j < width; j++)
            y[i * out + first + j] = piece[j * wide + i];
}

static void many(count N, count in, count first, count width, count out, const float *x, affine w, float *piece,
                 float *y)
{
    const matrix panel = {piece, PANEL, 1};
    transpose(width, in, (matrix){w.weight + first * in, in, 1}, panel);
    product(N, width, in, (matrix){(float *)x, in, 1}, panel, (matrix){y + first, out, 1}, 1, 0);
}

void linear(count N, count in, count out, const float *x, affine w, float *y, const room *r)
{
    if (N > FEW && N < MANY)
        transpose(N, in, (matrix){(float *)x, in, 1}, (matrix){r->shared, whole_vectors(N), 1});
#pragma omp parallel for if (N * in * out > SERIAL)
    for (count j = 0; j < out; j += PANEL) {
        const count width = least(PANEL, out - j);
        float *piece = r->threads + omp_get_thread_num() * r->piece;
        if (N <= FEW)
            few(N, in, j, width, out, x, w, y);
        else if (N < MANY)
            some(N, in, j, width, out, r->shared, w, piece, y);
        else
            many(N, in, j, width, out, x, w, piece, y);
        add_bias(N, j, width, out, w.bias, y);
    }
}

/* dW and db are added to, DEPTH rows at a time, which stay in the cache; dx, unless NULL, is replaced or added to. */
void linear_backward(count N, count in, count out, const float *g, const float *x, affine w, affine dw, float *dx,
                     int add)
{
#pragma omp parallel for
    for (count j = 0; j < out; j += STRIP) {
        const count some = least(STRIP, out - j);
        for (count n = 0; n < N; n += DEPTH)
            product(some, in, least(DEPTH, N - n), (matrix){(float *)g + n * out + j, 1, out},
                    (matrix){(float *)x + n * in, in, 1}, (matrix){dw.weight + j * in, in, 1}, 1, 1);
        for (count n = 0; dw.bias && n < N; n++)
            for (count i = j; i < j + some; i++)
                dw.bias[i] += g[n * out + i];
    }
    if (!dx)
        return;
#pragma omp parallel for
    for (count j = 0; j < in; j += PANEL)
        product(N, least(PANEL, in - j), out, (matrix){(float *)g, out, 1}, (matrix){w.weight + j, in, 1},
                (matrix){dx + j, in, 1}, 1, add);
}
