/* AdamW: Adam with decoupled weight decay.

   m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                 Kingma and Ba 2014, arXiv:1412.6980
   w = w (1 - rate decay) - rate m̂ / (sqrt(v̂) + ε)                   Loshchilov and Hutter 2017, arXiv:1711.05101 */

#include "transformer.h"

/* `fresh` is the share of the new gradient in an average. */
void adamw(count n, const update *each, float fresh_m, float fresh_v, float epsilon)
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
