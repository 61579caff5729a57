/* Norms: standardise or scale each row, then multiply by a weight and add a bias.

   LayerNorm(x) = (x - mean) r w + b,  r = 1 / sqrt(variance + eps)      Ba et al. 2016, arXiv:1607.06450
   RMSNorm(x)   = x r w,               r = 1 / sqrt(mean(x^2) + eps)     Zhang and Sennrich 2019, arXiv:1910.07467 */

#include "transformer.h"

void norm(count rows, const float *x, float *out, float *mean, float *r, count width, const float *weight,
          const float *bias, float eps, int centred)
{
    for (; rows > 0; rows--, x += width, out += width, mean++, r++) {
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (count i = 0; i < width; i++)
            sum += x[i];
        const float middle = *mean = centred ? sum / width : 0;
#pragma omp simd reduction(+ : squares)
        for (count i = 0; i < width; i++)
            squares += (x[i] - middle) * (x[i] - middle);
        const float scale = *r = 1.0f / sqrtf(squares / width + eps);
#pragma omp simd
        for (count i = 0; i < width; i++)
            out[i] = (x[i] - middle) * scale * weight[i] + (bias ? bias[i] : 0);
    }
}

void norm_backward(count rows, const float *g, const float *x, const float *mean, const float *r, float *dx,
                   float *dweight, float *dbias, count width, const float *weight, int centred)
{
    memset(dweight, 0, width * sizeof(float));
    memset(dbias, 0, width * sizeof(float));
    for (; rows > 0; rows--, g += width, x += width, dx += width, mean++, r++) {
        const float middle = *mean, scale = *r;
        float along_one = 0, along_y = 0;
#pragma omp simd reduction(+ : along_one, along_y)
        for (count i = 0; i < width; i++) {
            const float y = (x[i] - middle) * scale, h = g[i] * weight[i];
            along_one += h;
            along_y += h * y;
            dweight[i] += g[i] * y;
            dbias[i] += g[i];
        }
        along_one = centred ? along_one / width : 0;
        along_y /= width;
#pragma omp simd
        for (count i = 0; i < width; i++)
            dx[i] = scale * (g[i] * weight[i] - along_one - (x[i] - middle) * scale * along_y);
    }
}

/* The configuration's norm, of rows in threads; a copy if it has none. `out` may be `x`. */
void norm_rows(const config *c, count rows, count width, const float *x, affine w, float *out, float *statistics)
{
    if (c->norm_kind == NO_NORM) {
        if (out != x)
            memcpy(out, x, rows * width * sizeof(float));
        return;
    }
#pragma omp parallel for if (rows * width > SERIAL)
    for (count i = 0; i < rows; i++)
        norm(1, x + i * width, out + i * width, statistics + i, statistics + rows + i, width, w.weight, w.bias,
             c->norm_epsilon, c->norm_kind == LAYER_NORM);
}

/* dx, and what is added to the gradients of weight and bias; each thread sums its rows, and the sums are added in order. */
void norm_rows_backward(const config *c, count rows, count width, const float *g, const float *x,
                        const float *statistics, affine w, affine dw, float *dx, const room *r)
{
    if (c->norm_kind == NO_NORM) {
        if (dx != g)
            memcpy(dx, g, rows * width * sizeof(float));
        return;
    }
    const count threads = omp_get_max_threads(), block = (rows + threads - 1) / threads;
#pragma omp parallel for
    for (count k = 0; k < threads; k++) {
        const count first = least(k * block, rows), some = least(block, rows - first);
        float *sums = r->threads + k * r->piece;
        norm_backward(some, g + first * width, x + first * width, statistics + first, statistics + rows + first,
                      dx + first * width, sums, sums + width, width, w.weight, c->norm_kind == LAYER_NORM);
    }
    for (count k = 0; k < threads; k++)
        for (count i = 0; i < width; i++) {
            const float *sums = r->threads + k * r->piece;
            dw.weight[i] += sums[i];
            if (dw.bias)
                dw.bias[i] += sums[width + i];
        }
}
