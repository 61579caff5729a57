/* What beam search asks of a row of logits: log Σ_v exp z_v, which makes them log-probabilities, and maxima of parts of
   the row, by which its likeliest tokens are soon found. */

#include "transformer.h"

enum { BLOCK = 256 }; /* numbers whose sum float32 holds well */

/* Of each row of z [rows, V] its log-sum [rows], and maxima [rows, columns] of the numbers that stand `columns` apart;
   what is left of V after whole multiples of `columns` is in the sum alone. Not finite where a logit is NaN or
   infinity. */
void summarize(count rows, count V, const float *z, count columns, float *maxima, double *log_sums)
{
    const count whole = V / columns * columns;
#pragma omp parallel for if (rows * V > SERIAL)
    for (count row = 0; row < rows; row++) {
        const float *logits = z + row * V;
        float *most = maxima + row * columns, exponents[BLOCK];
        memcpy(most, logits, columns * sizeof(float));
        for (count i = columns; i < whole; i += columns)
#pragma omp simd
            for (count j = 0; j < columns; j++)
                most[j] = logits[i + j] > most[j] ? logits[i + j] : most[j];
        const float above = largest(columns, most), rest = largest(V - whole, logits + whole);
        const float top = rest > above ? rest : above;
        double sum = 0;
        for (count i = 0; i < V; i += BLOCK)
            sum += exponentials(least(BLOCK, V - i), logits + i, top, exponents);
        log_sums[row] = log(sum) + top;
    }
}
