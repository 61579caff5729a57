/* Axes of panels: share(value), from 0, below, to 1; and ticks { value, words }. */

import { roundUp } from "../../numbers.mjs";

const LEAST = 1e-12, MOST = 4; /* the smallest number on a logarithmic axis, and the most ticks on it */
const HIGHER = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** Whole powers of ten, around these values. */
export function logarithmic(values) {
    const logs = values.map((value) => Math.log10(Math.max(value, LEAST)));
    const low = Math.floor(Math.min(...logs)), high = Math.max(Math.ceil(Math.max(...logs)), low + 1);
    const share = (value) => (Math.log10(Math.max(value, LEAST)) - low) / (high - low);
    const every = Math.ceil((high - low) / MOST);
    const powers = Array.from({ length: Math.floor((high - low) / every) + 1 }, (_, i) => high - i * every);
    return { share, ticks: powers.map((power) => ({ value: 10 ** power, words: powerOfTen(power) })) };
}

/** From 0 to a round number, or of shares to 100 %. */
export function linear(values, areShares) {
    const most = areShares ? 1 : roundUp(Math.max(...values) || 1);
    const words = (value) => (areShares ? `${100 * value} %` : value.toLocaleString("en"));
    const ticks = [0, most / 2, most].map((value) => ({ value, words: words(value) }));
    return { share: (value) => value / most, ticks };
}

function powerOfTen(power) {
    if (power >= 0 && power <= 3) return (10 ** power).toLocaleString("en");
    if (power < 0 && power >= -2) return (10 ** power).toFixed(-power);
    return `10${[...String(power)].map((c) => HIGHER[c]).join("")}`;
}
