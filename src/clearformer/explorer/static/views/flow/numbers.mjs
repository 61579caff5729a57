/* Numbers as words and texts need them. */

/** Three digits. */
export const brief = (x) => x.toFixed(Math.abs(x) >= 100 ? 0 : Math.abs(x) >= 10 ? 1 : 2).replace("-", "−");

/** The Euclidean norm. */
export const length = (row) => Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));

/** The place of the largest number. */
export const largest = (row) => row.reduce((best, x, i) => (x > row[best] ? i : best), 0);

export const count = (n) => n.toLocaleString("en");
