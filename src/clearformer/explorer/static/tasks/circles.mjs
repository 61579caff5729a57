/* The embedding E [n, D] of the numbers on a circle of n places, by frequency, as
   clearformer/inspection/grokking/fourier.py has it; k = 1 … n // 2:

       c_k[j] = √(2/n) cos(2π k j / n),  s_k[j] = √(2/n) sin(2π k j / n)      for k = n / 2: √(1/n) and 0
       power of k: |Eᵀ c_k|² + |Eᵀ s_k|²
       number j:   stands at (E[j] · u, E[j] · v), where u = Eᵀ c_k / |Eᵀ c_k|, and v the same of s_k */

import { FIRST_NUMBER } from "../special.mjs";
import { dot, parametersOf } from "./vectors.mjs";

/** `numbers`: those of the places. Returns { power, places }: of every k, and of each of the `frequencies` { x, y } of
    all numbers. */
export function circles({ model }, { numbers, frequencies }) {
    const { D } = model.sizes, matrix = parametersOf(model)("embedding.weight"), n = numbers.length;
    const rows = numbers.map((number) => matrix.subarray((FIRST_NUMBER + number) * D, (FIRST_NUMBER + number + 1) * D));
    const directions = (k) => [Math.cos, Math.sin].map((wave) => along(rows, (j) => waveAt(wave, k, j, n)));
    const power = Float64Array.from({ length: n >> 1 }, (_, i) =>
        directions(i + 1).reduce((sum, direction) => sum + dot(direction, direction), 0));
    const places = frequencies.map((k) => {
        const [x, y] = directions(k).map((direction) => {
            const length = Math.sqrt(dot(direction, direction)) || 1;
            return Float64Array.from(rows, (row) => dot(row, direction) / length);
        });
        return { x, y };
    });
    return { power, places };
}

function waveAt(wave, k, j, n) {
    if (2 * k === n) return wave === Math.cos ? (j % 2 ? -1 : 1) / Math.sqrt(n) : 0;
    return Math.sqrt(2 / n) * wave((2 * Math.PI * ((k * j) % n)) / n);
}

/** Σ_j f(j) rows[j]. */
function along(rows, f) {
    const sum = new Float64Array(rows[0].length);
    rows.forEach((row, j) => {
        const factor = f(j);
        for (let d = 0; d < sum.length; d++) sum[d] += factor * row[d];
    });
    return sum;
}
