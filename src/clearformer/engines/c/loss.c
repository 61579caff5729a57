/* Cross-entropy: how surprised the model is by the token that came.

   loss = -Σ_v q_v log softmax(z)_v      q = (1 - ε) [v = target] + ε / V      dz = softmax(z) - q
   Szegedy et al. 2015, arXiv:1512.00567, for the label smoothing ε */

#include "transformer.h"

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

