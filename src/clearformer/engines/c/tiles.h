/* What both C programs of this package are made of, `engines/c` and the kernels of `engines/numpy`: exponentials, and
   products of small matrices by tiles that stay in the processor's registers. */

#ifndef TILES_H
#define TILES_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#else
static inline int omp_get_thread_num(void) { return 0; }
static inline int omp_get_max_threads(void) { return 1; }
#endif

typedef int64_t count;

/* x = n ln 2 + r, |r| <= ln(2) / 2: Taylor's polynomial of degree 7 for exp(r) is off by 5e-9 of it at most, and 2^n
   is a float whose exponent is n. Only for x <= 0, as all exponentials here; below -87 the result is zero. */
static inline float exp_of_negative(float x)
{
    const float rounding = 12582912.0f; /* 1.5 * 2^23: what is added to it loses its fraction, and n is its last bits */
    const float inside = x < -87.0f ? -87.0f : x;
    const float shifted = inside * 1.44269504f + rounding, n = shifted - rounding;
    const float r = (inside - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts, n times the first is exact */
    float y = 1.0f / 5040, power_of_two;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(&power_of_two, &bits, sizeof bits);
    return x < -87.0f ? 0.0f : y * power_of_two;
}

static inline float sigmoid(float x)
{
    const float small = exp_of_negative(x < 0 ? x : -x);
    return (x < 0 ? small : 1.0f) / (1.0f + small);
}

/* At least -FLT_MAX: there a reduction of some compilers begins, whatever stands here. */
static inline float largest(count n, const float *x)
{
    float most = -FLT_MAX;
#pragma omp simd reduction(max : most)
    for (count i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* y = exp(x - most), which may be in the place of x; returns their sum */
static inline float exponentials(count n, const float *x, float most, float *y)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (count i = 0; i < n; i++)
        sum += y[i] = exp_of_negative(x[i] - most);
    return sum;
}

/* For the products in attention: vectors as wide as the processor's, and as many sums as its registers hold. */
#ifdef __AVX512F__
enum { LANES = 16, HEIGHT = 8 };
#elif defined __wasm__
enum { LANES = 4, HEIGHT = 4 };
#else
enum { LANES = 8, HEIGHT = 5 };
#endif
enum { DOTS = 4, STRIP = 2 * HEIGHT }; /* rows on a side of inner products; queries that are done together */
enum { LINE = 16 }; /* numbers that memory gives at once */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* [i, j] stands at i * row + j * column, so that one transposed is a matrix too */
typedef struct {
    float *at;
    count row, column;
} matrix;

static inline count least(count a, count b)
{
    return a < b ? a : b;
}

static inline count larger(count a, count b)
{
    return a > b ? a : b;
}

static inline matrix from(matrix x, count i, count j)
{
    return (matrix){x.at + i * x.row + j * x.column, x.row, x.column};
}

static inline matrix transposed(matrix x)
{
    return (matrix){x.at, x.column, x.row};
}

/* `height` rows and `vectors` vectors of columns of a product; both numbers are known when this is compiled. `ahead`:
   whether the rows of a that follow are fetched from memory meanwhile. */
static inline __attribute__((always_inline)) void tile(const int height, const int vectors, count depth, matrix a,
                                                       matrix b, matrix c, float scale, int add, const int ahead)
{
    lanes sum[HEIGHT][2] = {{{0}}};
    for (count p = 0; p < depth; p++) {
        for (int i = 0; ahead && p % LINE == 0 && i < height; i++)
            __builtin_prefetch(a.at + (height + i) * a.row + p);
#pragma GCC unroll 8
        for (int i = 0; i < height; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] += a.at[i * a.row + p * a.column] * *(const lanes *)(b.at + p * b.row + j * LANES);
    }
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            lanes *to = (lanes *)(c.at + i * c.row + j * LANES);
            *to = add ? *to + scale * sum[i][j] : scale * sum[i][j];
        }
}

static inline __attribute__((always_inline)) void band(const int height, count width, count depth, matrix a, matrix b,
                                                       matrix c, float scale, int add, const int ahead)
{
    count j = 0;
    for (; j + 2 * LANES <= width; j += 2 * LANES)
        tile(height, 2, depth, a, from(b, 0, j), from(c, 0, j), scale, add, ahead);
    for (; j + LANES <= width; j += LANES)
        tile(height, 1, depth, a, from(b, 0, j), from(c, 0, j), scale, add, ahead);
    for (; j < width; j++)
        for (int i = 0; i < height; i++) {
            float sum = 0, *to = from(c, i, j).at;
            for (count p = 0; p < depth; p++)
                sum += *from(a, i, p).at * *from(b, p, j).at;
            *to = add ? *to + scale * sum : scale * sum;
        }
}

/* c [height, width] = scale a [height, depth] b [depth, width], or added to c; the columns of b and c have no gaps */
static inline void product(count height, count width, count depth, matrix a, matrix b, matrix c, float scale, int add)
{
    count i = 0;
    for (; i + HEIGHT <= height; i += HEIGHT)
        band(HEIGHT, width, depth, from(a, i, 0), b, from(c, i, 0), scale, add, 0);
    for (; i < height; i++)
        band(1, width, depth, from(a, i, 0), b, from(c, i, 0), scale, add, 0);
}

/* c = a b as above, where a has no gaps, and is so large and used so little that time goes into reading it */
static inline void streamed_product(count height, count width, count depth, matrix a, matrix b, matrix c)
{
    count i = 0;
    for (; i + HEIGHT <= height; i += HEIGHT)
        band(HEIGHT, width, depth, from(a, i, 0), b, from(c, i, 0), 1, 0, 1);
    for (; i < height; i++)
        band(1, width, depth, from(a, i, 0), b, from(c, i, 0), 1, 0, 1);
}

static inline count whole_vectors(count width)
{
    return (width + LANES - 1) / LANES * LANES;
}

enum { SIDE = 8 };
typedef float eight __attribute__((vector_size(SIDE * sizeof(float))));
typedef int32_t eight_places __attribute__((vector_size(SIDE * sizeof(int32_t))));
#ifdef __clang__
#define CHOOSE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define CHOOSE(a, b, ...) __builtin_shuffle(a, b, (eight_places){__VA_ARGS__})
#endif

/* SIDE rows of x as columns. Riffling rows i and i + 4 moves one bit of the number of a row into that of a column; when
   all three bits have moved, rows are columns. */
static inline __attribute__((always_inline)) void transpose_square(matrix x, matrix out)
{
    eight rows[SIDE], riffled[SIDE];
    for (int i = 0; i < SIDE; i++)
        memcpy(rows + i, x.at + i * x.row, sizeof *rows);
#pragma GCC unroll 3
    for (int bit = 0; bit < 3; bit++) {
#pragma GCC unroll 4
        for (int i = 0; i < SIDE / 2; i++) {
            riffled[2 * i] = CHOOSE(rows[i], rows[i + SIDE / 2], 0, 8, 1, 9, 2, 10, 3, 11);
            riffled[2 * i + 1] = CHOOSE(rows[i], rows[i + SIDE / 2], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(rows, riffled, sizeof rows);
    }
    for (int i = 0; i < SIDE; i++)
        memcpy(out.at + i * out.row, rows + i, sizeof *rows);
}

/* x [rows, width] as [width, rows], with zeros up to whole vectors */
static inline void transpose(count rows, count width, matrix x, matrix out)
{
    for (count i = 0; i < out.row; i += SIDE) {
        count j = 0;
        for (; i + SIDE <= rows && j + SIDE <= width; j += SIDE)
            transpose_square(from(x, i, j), from(out, j, i));
        for (; j < width; j++)
            for (count k = i; k < least(i + SIDE, out.row); k++)
                *from(out, j, k).at = k < rows ? *from(x, k, j).at : 0;
    }
}

static inline float total(lanes x)
{
    typedef float quarter __attribute__((vector_size(4 * sizeof(float))));
    quarter part[LANES / 4], sum = {0};
    memcpy(part, &x, sizeof part);
    for (int i = 0; i < LANES / 4; i++)
        sum += part[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Σ_p x_p y_p, in the order of memory, with as many sums as hide the time that an addition takes */
static inline float inner_product(count depth, const float *x, const float *y)
{
    lanes sum[DOTS] = {{0}};
    float rest = 0;
    count p = 0;
    for (; p + DOTS * LANES <= depth; p += DOTS * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < DOTS; i++)
            sum[i] += *(const lanes *)(x + p + i * LANES) * *(const lanes *)(y + p + i * LANES);
    for (; p < depth; p++)
        rest += x[p] * y[p];
    return total((sum[0] + sum[1]) + (sum[2] + sum[3])) + rest;
}

/* Inner products of `height` rows of a with `width` rows of b, each of `depth` numbers without gaps. */
static inline __attribute__((always_inline)) void dots(const int height, const int width, count depth, matrix a,
                                                       matrix b, matrix c, float scale)
{
    lanes sum[DOTS][DOTS] = {{{0}}};
    count p = 0;
    for (; p + LANES <= depth; p += LANES)
#pragma GCC unroll 4
        for (int i = 0; i < height; i++)
#pragma GCC unroll 4
            for (int j = 0; j < width; j++)
                sum[i][j] += *(const lanes *)(a.at + i * a.row + p) * *(const lanes *)(b.at + j * b.row + p);
#pragma GCC unroll 4
    for (int i = 0; i < height; i++)
#pragma GCC unroll 4
        for (int j = 0; j < width; j++) {
            float rest = total(sum[i][j]);
            for (count q = p; q < depth; q++)
                rest += a.at[i * a.row + q] * b.at[j * b.row + q];
            c.at[i * c.row + j * c.column] = scale * rest;
        }
}

/* c [height, width] = scale a [height, depth] b [width, depth]ᵀ: for few rows, as nothing is packed */
static inline void inner_products(count height, count width, count depth, matrix a, matrix b, matrix c, float scale)
{
    for (count j = 0; j < width; j += DOTS) {
        const int some = (int)least(DOTS, width - j);
        count i = 0;
        for (; i + DOTS <= height && some == DOTS; i += DOTS)
            dots(DOTS, DOTS, depth, from(a, i, 0), from(b, j, 0), from(c, i, j), scale);
        for (; i < height && some == DOTS; i++)
            dots(1, DOTS, depth, from(a, i, 0), from(b, j, 0), from(c, i, j), scale);
        for (; i < height; i++)
            for (int k = 0; k < some; k++)
                dots(1, 1, depth, from(a, i, 0), from(b, j + k, 0), from(c, i, j + k), scale);
    }
}

#endif
