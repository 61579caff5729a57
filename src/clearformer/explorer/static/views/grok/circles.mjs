/* The embedding of numbers on circles, of the task "circles", as figures: their places, and the spectrum. */

import { element } from "../../dom.mjs";
import { magnitude } from "../../heatmap.mjs";
import { sum } from "../../numbers.mjs";
import { percent } from "../../visible.mjs";
import { columns } from "./columns.mjs";
import { ring } from "./ring.mjs";

const MOST = 8; /* circles that are shown: those with the most power in the trained model */

const shareOf = (power, k) => power[k - 1] / sum(power);

/** What a figure shows for each key frequency: where the numbers stand `now`, as large as the larger of the circles now
    and in the `trained` model. */
export function circleFigures({ numbers, frequencies }, now, trained) {
    const order = [...frequencies.keys()].sort((a, b) => trained.power[frequencies[b] - 1] - trained.power[frequencies[a] - 1]);
    const shown = order.slice(0, MOST).sort((a, b) => a - b);
    const scale = Math.max(...[now, trained].flatMap(({ places }) => shown.flatMap((i) => [places[i].x, places[i].y].map(magnitude))));
    return shown.map((i) => {
        const k = frequencies[i], { x, y } = now.places[i], share = percent(shareOf(now.power, k));
        return {
            title: [`Frequency ${k}`, element("small", {}, ` ${share} of the embedding`)],
            picture: ring({ numbers, k, x, y }, scale, `Frequency ${k}: the numbers on the embedding’s cosine and sine`),
            rows: [["number", "cosine", "sine"], ...numbers.map((number, j) => [number, x[j], y[j]])],
        };
    });
}

/** The shares of all frequencies `now`; the highest column is as high as the larger of those now and of `trained`. */
export function spectrumFigure({ numbers, frequencies }, now, trained, when) {
    const shares = [...now.power].map((power) => power / sum(now.power)), n = numbers.length;
    const most = Math.max(...shares, ...trained.power.map((power) => power / sum(trained.power)));
    const keys = frequencies.map((k) => `${k}: ${percent(shares[k - 1])}`).join(", ");
    return {
        title: ["Spectrum of the embedding", element("small", {}, ` ${when}`)],
        note: `How much of the numbers’ vectors goes round k times in ${n} places. Dark: the key frequencies, of which the ` +
            "trained model’s answers are made. Below: the numbers on the cosine and sine of each; neighbours have like colours.",
        picture: columns(shares, frequencies, most, `Share of the embedding by frequency; the key ones ${keys}`),
        rows: [["frequency", "share", "key"], ...shares.map((p, i) => [i + 1, p, frequencies.includes(i + 1) ? "key" : ""])],
    };
}
