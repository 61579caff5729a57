/* How much "=" looks at each operand of "a b =", in the first layer, for all a and b.

   There a token's key depends on that token and its position alone. So with the weights A of the n texts "j j =", the
   ratios r_a(j) = A[=, a] / A[=, =] and r_b(j) = A[=, b] / A[=, =] give those of all n² texts:

       to a: r_a(a) / (r_a(a) + r_b(b) + 1)        to b: r_b(b) / (r_a(a) + r_b(b) + 1) */

import { FIRST_NUMBER } from "../special.mjs";

const WEIGHTS = "decoder.layers.0.attention.core.weights";
const LEAST = 2 ** -149; /* of a float32 above 0, for a weight that is rounded to 0 */

/** Of each head { a, b }: the weights [n, n] to a and to b, at [a, b], of these numbers. */
export function operands({ model }, { numbers }) {
    const equals = model.sizes.V - 1, n = numbers.length;
    const texts = numbers.map((number) => [FIRST_NUMBER + number, FIRST_NUMBER + number, equals]);
    const { shape: [, H], data } = model.keep([WEIGHTS], texts)[WEIGHTS];
    return Array.from({ length: H }, (_, h) => {
        const weight = (j, s) => data[((j * H + h) * 3 + 2) * 3 + s];
        const ratios = [0, 1].map((s) => numbers.map((_, j) => weight(j, s) / Math.max(weight(j, 2), LEAST)));
        const a = new Float32Array(n * n), b = new Float32Array(n * n);
        for (let i = 0; i < n; i++)
            for (let j = 0; j < n; j++) {
                const [first, second] = [ratios[0][i], ratios[1][j]], all = first + second + 1;
                a[i * n + j] = first / all;
                b[i * n + j] = second / all;
            }
        return { a, b };
    });
}
