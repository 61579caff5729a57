/* Muon, for matrices: momentum, made orthogonal by matrix products.                   Jordan et al. 2024

   m = μ m + (1 - μ) g      d = μ m + (1 - μ) g      w = w (1 - rate decay) - rate 0.2 sqrt(max(n, m)) U Vᵀ
   U Vᵀ of d = U S Vᵀ, nearly, by X = a X + (b X Xᵀ + c (X Xᵀ)²) X; Liu et al. 2025, arXiv:2502.16982, for the 0.2 */

#include "transformer.h"

/* c [n, m] = a [n, k] b [k, m], in threads */
static void multiply(count n, count m, count k, const float *a, const float *b, float *c)
{
#pragma omp parallel for
    for (count i = 0; i < n; i += STRIP)
        product(least(STRIP, n - i), m, k, (matrix){(float *)a + i * k, k, 1}, (matrix){(float *)b, m, 1},
                (matrix){c + i * m, m, 1}, 1, 0);
}

/* Numbers of the scratch that `muon` needs. */
count muon_size(count rows, count columns)
{
    const count n = least(rows, columns);
    return 2 * rows * columns + 2 * n * n;
}

/* w [rows, columns], its gradient and its momentum; `fresh` is the share of the new gradient, `keep` what decay leaves,
   `newton_schulz` the a, b, c above. */
void muon(count rows, count columns, float *w, const float *g, float *momentum, float fresh, float keep, float rate,
          const float *newton_schulz, count steps, float *scratch)
{
    const count n = least(rows, columns), m = rows + columns - n, size = rows * columns;
    float *x = scratch, *y = x + size, *gram = y + size, *square = gram + n * n;
    double squares = 0;
    for (count i = 0; i < rows; i++)
        for (count j = 0; j < columns; j++) {
            const count at = i * columns + j;
            momentum[at] += (g[at] - momentum[at]) * fresh;
            const float direction = g[at] + (momentum[at] - g[at]) * (1 - fresh);
            x[rows <= columns ? at : j * rows + i] = direction;
            squares += (double)direction * direction;
        }
    const float scale = 1.0f / (float)(squares > 1e-14 ? sqrt(squares) : 1e-7);
    for (count i = 0; i < size; i++)
        x[i] *= scale;
    for (count step = 0; step < steps; step++) {
#pragma omp parallel for
        for (count i = 0; i < n; i += STRIP)
            inner_products(least(STRIP, n - i), n, m, (matrix){x + i * m, m, 1}, (matrix){x, m, 1},
                           (matrix){gram + i * n, n, 1}, 1);
        multiply(n, n, n, gram, gram, square);
        for (count i = 0; i < n * n; i++)
            square[i] = newton_schulz[1] * gram[i] + newton_schulz[2] * square[i];
        multiply(n, m, n, square, x, y);
        for (count i = 0; i < size; i++)
            x[i] = newton_schulz[0] * x[i] + y[i];
    }
    const float length = rate * 0.2f * sqrtf((float)m);
    for (count i = 0; i < rows; i++)
        for (count j = 0; j < columns; j++)
            w[i * columns + j] = w[i * columns + j] * keep - length * x[rows <= columns ? i * columns + j : j * rows + i];
}
