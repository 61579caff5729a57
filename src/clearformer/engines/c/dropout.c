/* Dropout: in training, zero numbers with probability p and scale the others by 1 / (1 - p).

   Srivastava et al. 2014. Which are dropped is a hash of seed, row and column, so that the backward pass drops the same
   ones and nothing is kept. */

#include "transformer.h"

/* An integer hash in which every bit of the input changes half of the output's (Wellons 2018, "lowbias32"). */
static inline uint32_t mixed(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* A seed for each place in the model that drops. */
uint32_t seed_of(uint32_t seed, count site)
{
    return mixed(seed + mixed((uint32_t)site + 1));
}

static inline uint32_t limit(float p)
{
    return (uint32_t)(p * 4294967296.0);
}

int dropped(uint32_t seed, count row, count column, float p)
{
    return mixed(mixed(seed + (uint32_t)row) + (uint32_t)column) < limit(p);
}

/* Rows of x, in place. */
void dropout(count rows, count width, float *x, float p, uint32_t seed)
{
    if (p == 0)
        return;
    const uint32_t most = limit(p);
    const float scale = 1.0f / (1.0f - p);
#pragma omp parallel for
    for (count i = 0; i < rows; i++) {
        const uint32_t of_row = mixed(seed + (uint32_t)i);
        float *row = x + i * width;
#pragma omp simd
        for (count j = 0; j < width; j++)
            row[j] = mixed(of_row + (uint32_t)j) < most ? 0 : row[j] * scale;
    }
}
