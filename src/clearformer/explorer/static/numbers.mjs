/* Numbers as words and texts need them. */

import { percent } from "./visible.mjs";

/** Three digits; what rounds to zero has no sign. */
export const brief = (x) =>
    x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2).replace(/^-(?=0\.00$)/, "").replace("-", "−");

export const sum = (values) => values.reduce((a, b) => a + b, 0);

/** The Euclidean norm. */
export const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));

/** The place of the number that is nearest to another. */
export const nearest = (numbers, to) =>
    numbers.reduce((best, x, i) => (Math.abs(x - to) < Math.abs(numbers[best] - to) ? i : best), 0);

/** The place of the largest number. */
export const largest = (row) => row.reduce((best, x, i) => (x > row[best] ? i : best), 0);

/** A probability in a sentence, without a break of the line in it. */
export const share = (p) => percent(p).replace(" ", "\u00a0");

export const count = (n) => n.toLocaleString("en");

/** To the next of 1, 2, 2.5, 5 and 10 times a power of ten. */
export function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return power * [1, 2, 2.5, 5, 10].find((times) => times * power >= value);
}
