/* What the rules of the NumPy engine spend most of their time on, each in one pass, for float32 without gaps.

   The formulas are those of `activations.py`, `norms.py`, `attention.py`, `fused.py` and `optimizer.py`. */

#include <math.h>
#include <stdint.h>
#include <string.h>

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

static float largest(count n, const float *x)
{
    float most = -INFINITY;
#pragma omp simd reduction(max : most)
    for (count i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* y = exp(x - most), which may be in the place of x; returns their sum */
static float exponentials(count n, const float *x, float most, float *y)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (count i = 0; i < n; i++)
        sum += y[i] = exp_of_negative(x[i] - most);
    return sum;
}

/* `curve` is how activations.py bends and scales |x|, and then its polynomial, highest power first. */
void gelu(count n, const float *x, float *out, float *slope, const float *curve)
{
    const float bend = curve[0], scale = curve[1], shift = curve[2], *polynomial = curve + 3;
#pragma omp simd
    for (count i = 0; i < n; i++) {
        const float bell = exp_of_negative(-0.5f * x[i] * x[i]);
        const float s = scale / (1.0f + bend * fabsf(x[i])) - shift;
        float below = polynomial[0];
        for (int power = 1; power <= 8; power++)
            below = below * s + polynomial[power];
        below *= 0.5f * bell;
        below = x[i] < 0 ? below : 1.0f - below;
        out[i] = x[i] * below;
        slope[i] = below + x[i] * bell * 0.398942280f; /* 1 / sqrt(2 pi) */
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

/* In place; a row of -inf becomes zeros. Rows and heads may have gaps between them. Causal rows are the last of as many
   places as they are wide: none sees what comes after its own. */
void softmax(count heads, count rows, count width, count head_stride, count row_stride, float *scores, int causal)
{
    for (count row = 0; row < heads * rows; row++) {
        float *z = scores + row / rows * head_stride + row % rows * row_stride;
        const count seen = causal ? width - rows + row % rows + 1 : width;
        const float most = largest(seen, z);
        const float total = exponentials(seen, z, most == -INFINITY ? 0 : most, z);
        const float scale = 1.0f / (total == 0 ? 1 : total);
#pragma omp simd
        for (count i = 0; i < seen; i++)
            z[i] *= scale;
        memset(z + seen, 0, (width - seen) * sizeof(float));
    }
}

void softmax_gradient(count rows, float *g, const float *p, const float *along, count width)
{
    for (; rows > 0; rows--, g += width, p += width, along++)
#pragma omp simd
        for (count i = 0; i < width; i++)
            g[i] = (g[i] - *along) * p[i];
}

/* The loss of each row, and its gradient; zeros where nothing is predicted. */
void cross_entropy(count rows, const float *z, const int64_t *targets, float *losses, float *dz, count width,
                   float smoothing, int64_t ignored)
{
    for (; rows > 0; rows--, z += width, dz += width, targets++, losses++) {
        *losses = 0;
        if (*targets == ignored) {
            memset(dz, 0, width * sizeof(float));
            continue;
        }
        const float most = largest(width, z), total = exponentials(width, z, most, dz), scale = 1.0f / total;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (count i = 0; i < width; i++) {
            sum += z[i] - most;
            dz[i] = dz[i] * scale - smoothing / width;
        }
        *losses = logf(total) - (1.0f - smoothing) * (z[*targets] - most);
        if (smoothing > 0) /* where a logit is -inf, so is the sum */
            *losses -= smoothing * (sum / width);
        dz[*targets] -= 1.0f - smoothing;
    }
}

/* `keep` is what decay leaves of a weight, `fresh` the share of the new gradient in each average. */
void adamw(count n, float *w, const float *g, float *m, float *v, float keep, float fresh_m, float fresh_v,
           float correction, float epsilon, float rate)
{
#pragma omp simd
    for (count i = 0; i < n; i++) {
        m[i] += (g[i] - m[i]) * fresh_m;
        v[i] += (g[i] * g[i] - v[i]) * fresh_v;
        w[i] = w[i] * keep - rate * (m[i] / (sqrtf(v[i]) * correction + epsilon));
    }
}
