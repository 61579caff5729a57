/* Activations of the feed-forward layer.

   ReLU(x) = max(0, x)      ReLU²(x) = max(0, x)²                         So et al. 2021, arXiv:2109.08668
   GELU(x) = x Φ(x), Φ the standard normal distribution                   Hendrycks and Gimpel 2016, arXiv:1606.08415
   GELU(x) ~ x s(2u), u = sqrt(2/pi) (x + 0.044715 x^3), s the logistic function, which is (1 + tanh(u)) / 2
   SwiGLU(a, b) = a σ(a) b    GEGLU(a, b) = GELU(a) b                     Shazeer 2020, arXiv:2002.05202

   With z = |x| / sqrt(2), Φ(-|x|) = erfc(z) / 2, and erfc(z) exp(z²) is a polynomial in s, which is 1 / (1 + 0.4 z)
   scaled to [-1, 1]; numpy/activations.py derives it. */

#include "transformer.h"

static const float POLYNOMIAL[] = {4.52887361e-05f, -4.94359301e-05f, -0.000816366228f, -5.19021123e-05f, 0.0157979019f,
                                   0.0771885589f,   0.211237296f,     0.391758919f,     0.304889768f};

/* x Φ(x), and its derivative Φ(x) + x φ(x); `out` may be `x` */
void gelu(count n, const float *x, float *out, float *slope)
{
    const float bend = 0.282842726f, scale = 2.55555558f, shift = 1.55555558f; /* 0.4 / sqrt(2), and to [-1, 1] */
#pragma omp simd
    for (count i = 0; i < n; i++) {
        const float at = x[i], bell = exp_of_negative(-0.5f * at * at);
        const float s = scale / (1.0f + bend * fabsf(at)) - shift;
        float below = POLYNOMIAL[0];
        for (int power = 1; power <= 8; power++)
            below = below * s + POLYNOMIAL[power];
        below *= 0.5f * bell;
        below = at < 0 ? below : 1.0f - below;
        out[i] = at * below;
        slope[i] = below + at * bell * 0.398942280f; /* 1 / sqrt(2 pi) */
    }
}

/* GELU's approximation by tanh, and its derivative; `out` may be `x` */
void gelu_tanh(count n, const float *x, float *out, float *slope)
{
    const float twice = 1.59576912f, cubic = 0.044715f; /* 2 sqrt(2 / pi) */
#pragma omp simd
    for (count i = 0; i < n; i++) {
        const float at = x[i], square = cubic * at * at, sigma = sigmoid(twice * at * (1.0f + square));
        out[i] = at * sigma;
        slope[i] = sigma + at * sigma * (1.0f - sigma) * twice * (1.0f + 3.0f * square);
    }
}

void swiglu(count rows, const float *x, float *out, count width)
{
    for (; rows > 0; rows--, x += 2 * width, out += width)
#pragma omp simd
        for (count i = 0; i < width; i++)
            out[i] = x[i] * sigmoid(x[i]) * x[width + i];
}

void swiglu_backward(count rows, const float *g, const float *x, float *dx, count width)
{
    for (; rows > 0; rows--, g += width, x += 2 * width, dx += 2 * width)
#pragma omp simd
        for (count i = 0; i < width; i++) {
            const float sigma = sigmoid(x[i]), part = g[i] * sigma;
            dx[i] = part * x[width + i] * (1.0f + x[i] * (1.0f - sigma));
            dx[width + i] = part * x[i];
        }
}

/* What the first matrix widens to: F, or 2 F where one half gates the other. */
count linear1_width(const config *c)
{
    return c->activation >= SWIGLU ? 2 * c->F : c->F;
}

/* y = GELU(a) b of n numbers or, from g, da and db; a few at a time, whose values and slopes stay at hand. `f` is GELU or
   its approximation. */
static void geglu(void (*f)(count, const float *, float *, float *), count n, const float *a, const float *b, float *y,
                  const float *g, float *da, float *db)
{
    float value[64], slope[64];
    for (count first = 0; first < n; first += 64) {
        const count end = least(first + 64, n);
        f(end - first, a + first, value, slope);
        for (count i = first; i < end; i++)
            if (g) {
                da[i] = g[i] * b[i] * slope[i - first];
                db[i] = g[i] * value[i - first];
            } else {
                y[i] = value[i - first] * b[i];
            }
    }
}

/* [rows, F or 2 F] to [rows, F]; of both GELUs, x becomes the slope. */
void activate(int activation, count rows, count F, float *x, float *out)
{
#pragma omp parallel for if (rows * F > SERIAL)
    for (count row = 0; row < rows; row++) {
        float *a = x + row * (activation >= SWIGLU ? 2 * F : F), *y = out + row * F;
        switch (activation) {
        case GELU:
            gelu(F, a, y, a);
            break;
        case GELU_TANH:
            gelu_tanh(F, a, y, a);
            break;
        case SWIGLU:
            swiglu(1, a, y, F);
            break;
        case GEGLU:
        case GEGLU_TANH:
            geglu(activation == GEGLU ? gelu : gelu_tanh, F, a, a + F, y, NULL, NULL, NULL);
            break;
        default:
            for (count i = 0; i < F; i++) {
                const float positive = a[i] > 0 ? a[i] : 0;
                y[i] = activation == RELU ? positive : positive * positive;
            }
        }
    }
}

/* From g [rows, F] and the x that `activate` left to dx [rows, F or 2 F]. */
void activate_backward(int activation, count rows, count F, const float *g, const float *x, float *dx)
{
#pragma omp parallel for
    for (count row = 0; row < rows; row++) {
        const count width = activation >= SWIGLU ? 2 * F : F;
        const float *a = x + row * width, *from = g + row * F;
        float *out = dx + row * width;
        switch (activation) {
        case GELU:
        case GELU_TANH:
            for (count i = 0; i < F; i++)
                out[i] = from[i] * a[i];
            break;
        case SWIGLU:
            swiglu_backward(1, from, a, out, F);
            break;
        case GEGLU:
        case GEGLU_TANH:
            geglu(activation == GEGLU ? gelu : gelu_tanh, F, a, a + F, NULL, from, out, out + F);
            break;
        default:
            for (count i = 0; i < F; i++)
                out[i] = a[i] <= 0 ? 0 : activation == RELU ? from[i] : 2 * from[i] * a[i];
        }
    }
}
