/* A linear layer, y = x Wᵀ + b      dx = g W      dW = gᵀ x      db = Σ_n g_n

   Few rows are inner products with the weights where they lie. For many, a panel of the weights' rows at a time is
   transposed, so that each of its numbers is read once for all rows. */

#include "transformer.h"

enum { PANEL = 2 * LANES, MANY = 48, DEPTH = 256 };

/* Numbers that a thread needs. */
count linear_piece(count in)
{
    return in * PANEL;
}

static void add_bias(count N, count first, count width, count out, const float *bias, float *y)
{
    for (count i = 0; bias && i < N; i++)
        for (count j = first; j < first + width; j++)
            y[i * out + j] += bias[j];
}

static void few(count N, count in, count out, const float *x, affine w, float *y)
{
#pragma omp parallel for
    for (count j = 0; j < out; j += PANEL) {
        const count width = least(PANEL, out - j);
        inner_products(N, width, in, (matrix){(float *)x, in, 1}, (matrix){w.weight + j * in, in, 1},
                       (matrix){y + j, out, 1}, 1);
        add_bias(N, j, width, out, w.bias, y);
    }
}

void linear(count N, count in, count out, const float *x, affine w, float *y, const room *r)
{
    if (N < MANY) {
        few(N, in, out, x, w, y);
        return;
    }
#pragma omp parallel for
    for (count j = 0; j < out; j += PANEL) {
        const count width = least(PANEL, out - j);
        const matrix panel = {r->threads + omp_get_thread_num() * r->piece, PANEL, 1};
        transpose(width, in, (matrix){w.weight + j * in, in, 1}, panel);
        product(N, width, in, (matrix){(float *)x, in, 1}, panel, (matrix){y + j, out, 1}, 1, 0);
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
