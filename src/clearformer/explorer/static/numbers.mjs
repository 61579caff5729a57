/* Numbers as words and texts need them. */

import { percent } from "./visible.mjs";

/** Three digits. */
export const brief = (x) => x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2).replace("-", "−");

export const sum = (values) => values.reduce((a, b) => a + b, 0);

/** The Euclidean norm. */
export const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));

/** The place of the largest number. */
export const largest = (row) => row.reduce((best, x, i) => (x > row[best] ? i : best), 0);

/** A probability in a sentence, without a break of the line in it. */
export const share = (p) => percent(p).replace(" ", "\u00a0");

export const count = (n) => n.toLocaleString("en");
