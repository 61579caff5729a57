/* What the rules of the NumPy engine spend most of their time on, each in one pass, for float32 without gaps.

   The formulas are those of `activations.py`, `norms.py`, `attention.py`, `fused.py` and `optimizer.py`. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
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

/* For the products in attention: vectors as wide as the processor's, and as many sums as its registers hold. */
#ifdef __AVX512F__
enum { LANES = 16, HEIGHT = 8 };
#else
enum { LANES = 8, HEIGHT = 5 };
#endif
enum { STRIP = 2 * HEIGHT }; /* queries or keys that are done together */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

/* [i, j] stands at i * row + j * column, so that one transposed is a matrix too */
typedef struct {
    float *at;
    count row, column;
} matrix;

static inline matrix from(matrix x, count i, count j)
{
    return (matrix){x.at + i * x.row + j * x.column, x.row, x.column};
}

static inline matrix transposed(matrix x)
{
    return (matrix){x.at, x.column, x.row};
}

/* `height` rows and `vectors` vectors of columns of a product; both numbers are known when this is compiled */
static inline __attribute__((always_inline)) void tile(const int height, const int vectors, count depth, matrix a,
                                                       matrix b, matrix c, float scale, int add)
{
    lanes sum[HEIGHT][2] = {{{0}}};
    for (count p = 0; p < depth; p++)
#pragma GCC unroll 8
        for (int i = 0; i < height; i++)
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                sum[i][j] += a.at[i * a.row + p * a.column] * *(const lanes *)(b.at + p * b.row + j * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < height; i++)
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++) {
            lanes *to = (lanes *)(c.at + i * c.row + j * LANES);
            *to = add ? *to + scale * sum[i][j] : scale * sum[i][j];
        }
}

static inline __attribute__((always_inline)) void band(const int height, count width, count depth, matrix a, matrix b,
                                                       matrix c, float scale, int add)
{
    count j = 0;
    for (; j + 2 * LANES <= width; j += 2 * LANES)
        tile(height, 2, depth, a, from(b, 0, j), from(c, 0, j), scale, add);
    for (; j + LANES <= width; j += LANES)
        tile(height, 1, depth, a, from(b, 0, j), from(c, 0, j), scale, add);
    for (; j < width; j++)
        for (int i = 0; i < height; i++) {
            float sum = 0, *to = from(c, i, j).at;
            for (count p = 0; p < depth; p++)
                sum += *from(a, i, p).at * *from(b, p, j).at;
            *to = add ? *to + scale * sum : scale * sum;
        }
}

/* c [height, width] = scale a [height, depth] b [depth, width], or added to c; the columns of b and c have no gaps */
static void product(count height, count width, count depth, matrix a, matrix b, matrix c, float scale, int add)
{
    count i = 0;
    for (; i + HEIGHT <= height; i += HEIGHT)
        band(HEIGHT, width, depth, from(a, i, 0), b, from(c, i, 0), scale, add);
    for (; i < height; i++)
        band(1, width, depth, from(a, i, 0), b, from(c, i, 0), scale, add);
}

static inline count whole_vectors(count width)
{
    return (width + LANES - 1) / LANES * LANES;
}

/* x [rows, width] as [width, rows], with zeros up to whole vectors */
static void transpose(count rows, count width, matrix x, matrix out)
{
    memset(out.at, 0, width * out.row * sizeof(float));
    for (count j = 0; j < width; j++)
        for (count i = 0; i < rows; i++)
            out.at[j * out.row + i] = x.at[i * x.row + j];
}

/* The first `seen` scores of a row to weights, and zeros behind them; a row of -inf becomes zeros. */
static void softmax(count seen, count width, float *z)
{
    for (count s = seen; s < width; s++)
        z[s] = -INFINITY;
    const float most = largest(width, z);
    const float total = exponentials(width, z, most == -INFINITY ? 0 : most, z);
    const float scale = 1.0f / (total == 0 ? 1 : total);
#pragma omp simd
    for (count s = 0; s < width; s++)
        z[s] *= scale;
}

static void drop(count n, float *p, const uint8_t *left, float factor)
{
#pragma omp simd
    for (count i = 0; i < n; i++)
        p[i] = left[i] ? p[i] * factor : 0;
}

/* What attention.py has of these names; of the B * G groups of heads that share keys, `first` to `last` are to be done.
   `left` is NULL without dropout, `factor` what it multiplies by. */
typedef struct {
    count first, last, H, G, T, S, E;
    int causal;
    float factor;
    const uint8_t *left;
} task;

/* [B, H, T, E], or scores [B, H, T, S]; the last axis has no gaps, and along one that is shared the step is 0 */
typedef struct {
    float *at;
    count batch, head, row;
} heads;

static inline matrix of_head(heads x, count batch, count head)
{
    return (matrix){x.at + batch * x.batch + head * x.head, x.row, 1};
}

/* The keys that the query before `end` sees: the last query stands at the last place. */
static inline count seen_before(count end, task n)
{
    return n.causal ? n.S - n.T + end : n.S;
}

static inline count least(count a, count b)
{
    return a < b ? a : b;
}

/* Scores are made of a few queries at a time, in `z`, and only with the keys that the last of them sees. */
static void head_forward(task n, matrix q, matrix keys, matrix v, matrix added, matrix out, matrix weights, matrix z)
{
    for (count t = 0; t < n.T; t += STRIP) {
        const count some = least(STRIP, n.T - t), seen = seen_before(t + some, n);
        product(some, whole_vectors(seen), n.E, from(q, t, 0), keys, z, 1.0f / sqrtf(n.E), 0);
        for (count i = 0; i < some; i++) {
            float *row = from(z, i, 0).at, *kept = from(weights, t + i, 0).at;
            for (count s = 0; added.at && s < seen; s++)
                row[s] += from(added, t + i, s).at[0];
            softmax(seen_before(t + i + 1, n), whole_vectors(seen), row);
            memcpy(kept, row, seen * sizeof(float));
            memset(kept + seen, 0, (n.S - seen) * sizeof(float));
            if (n.left)
                drop(seen, row, n.left + (t + i) * n.S, n.factor);
        }
        product(some, n.E, seen, z, v, from(out, t, 0), 1, 0);
    }
}

/* `dz` holds the gradient of all scores of the head, `used` the weights that dropout left. */
static void head_backward(task n, matrix q, matrix k, matrix values, matrix out, matrix weights, matrix g, matrix dq,
                          matrix dk, matrix dv, matrix dz, matrix used, int add)
{
    const float scale = 1.0f / sqrtf(n.E);
    for (count t = 0; t < n.T; t += STRIP) {
        const count some = least(STRIP, n.T - t), seen = seen_before(t + some, n);
        product(some, whole_vectors(seen), n.E, from(g, t, 0), values, from(dz, t, 0), 1, 0);
        for (count i = t; i < t + some; i++) {
            const float *p = from(weights, i, 0).at, *gs = from(g, i, 0).at, *outs = from(out, i, 0).at;
            float *row = from(dz, i, 0).at, along = 0;
            if (n.left) {
                memcpy(from(used, i, 0).at, p, n.S * sizeof(float));
                drop(n.S, from(used, i, 0).at, n.left + i * n.S, n.factor);
                drop(seen, row, n.left + i * n.S, n.factor);
            }
#pragma omp simd reduction(+ : along)
            for (count e = 0; e < n.E; e++)
                along += gs[e] * outs[e];
#pragma omp simd
            for (count s = 0; s < seen; s++)
                row[s] = (row[s] - along) * p[s];
            memset(row + seen, 0, (n.S - seen) * sizeof(float));
        }
        product(some, n.E, seen, from(dz, t, 0), k, from(dq, t, 0), scale, 0);
    }
    for (count s = 0; s < n.S; s += STRIP) {
        const count some = least(STRIP, n.S - s), place = s - (n.S - n.T);
        const count t = n.causal && place > 0 ? place : 0; /* the first query that sees one of them */
        product(some, n.E, n.T - t, transposed(from(used, t, s)), from(g, t, 0), from(dv, s, 0), 1, add);
        product(some, n.E, n.T - t, transposed(from(dz, t, s)), from(q, t, 0), from(dk, s, 0), scale, add);
    }
}

/* Both return whether there was memory for it. */
int attention(task n, heads q, heads k, heads v, heads added, heads out, heads weights)
{
    const count wide = whole_vectors(n.S), shared = n.H / n.G;
    float *room = malloc((n.E + STRIP) * wide * sizeof(float));
    const matrix keys = {room, wide, 1}, z = {room + n.E * wide, wide, 1};
    const uint8_t *left = n.left;
    for (count pair = n.first; room && pair < n.last; pair++) {
        const count b = pair / n.G, group = pair % n.G;
        transpose(n.S, n.E, of_head(k, b, group), keys);
        for (count h = group * shared; h < (group + 1) * shared; h++) {
            n.left = left ? left + (b * n.H + h) * n.T * n.S : NULL;
            head_forward(n, of_head(q, b, h), keys, of_head(v, b, group), of_head(added, b, h), of_head(out, b, h),
                         of_head(weights, b, h), z);
        }
    }
    free(room);
    return room != NULL;
}

int attention_backward(task n, heads q, heads k, heads v, heads out, heads weights, heads g, heads dq, heads dk,
                       heads dv)
{
    const count wide = whole_vectors(n.S), shared = n.H / n.G;
    float *room = malloc((n.E + 2 * n.T) * wide * sizeof(float));
    const matrix values = {room, wide, 1}, dz = from(values, n.E, 0);
    const uint8_t *left = n.left;
    for (count pair = n.first; room && pair < n.last; pair++) {
        const count b = pair / n.G, group = pair % n.G;
        transpose(n.S, n.E, of_head(v, b, group), values);
        for (count h = group * shared; h < (group + 1) * shared; h++) {
            const matrix own = of_head(weights, b, h);
            n.left = left ? left + (b * n.H + h) * n.T * n.S : NULL;
            head_backward(n, of_head(q, b, h), of_head(k, b, group), values, of_head(out, b, h), own, of_head(g, b, h),
                          of_head(dq, b, h), of_head(dk, b, group), of_head(dv, b, group), dz,
                          left ? from(dz, n.T, 0) : own, h > group * shared);
        }
    }
    free(room);
    return room != NULL;
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

/* One parameter, its gradient and its averages. `keep` is what decay leaves of it. */
typedef struct {
    count size;
    float *w, *g, *m, *v, keep, correction, rate;
} weights;

/* `fresh` is the share of the new gradient in an average. */
void adamw(count n, const weights *each, float fresh_m, float fresh_v, float epsilon)
{
    for (; n > 0; n--, each++) {
        float *w = each->w, *m = each->m, *v = each->v;
        const float *g = each->g, keep = each->keep, correction = each->correction, rate = each->rate;
#pragma omp simd
        for (count i = 0; i < each->size; i++) {
            m[i] += (g[i] - m[i]) * fresh_m;
            v[i] += (g[i] * g[i] - v[i]) * fresh_v;
            w[i] = w[i] * keep - rate * (m[i] / (sqrtf(v[i]) * correction + epsilon));
        }
    }
}
