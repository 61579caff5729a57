/* The embedding of numbers on circles, of the task "circles", as figures: their places, and the spectrum. */

import { element } from "../../dom.mjs";
import { magnitude } from "../../heatmap.mjs";
import { sum } from "../../numbers.mjs";
import { percent } from "../../visible.mjs";
import { columns } from "./columns.mjs";
import { ring } from "./ring.mjs";

const MOST = 8; /* circles that are shown: those with the most power in the trained model */

const sharesOf = (power) => Array.from(power, (each) => each / sum(power));

/** What a figure shows for each key frequency: where the numbers stand `now`, as large as the larger of the circles now
    and in the `trained` model. */
export function circleFigures({ numbers, frequencies }, now, trained) {
    const power = (i) => trained.power[frequencies[i] - 1];
    const shown = [...frequencies.keys()].sort((i, j) => power(j) - power(i)).slice(0, MOST).sort((i, j) => i - j);
    const far = ({ places }) => shown.map((i) => Math.max(magnitude(places[i].x), magnitude(places[i].y)));
    const shares = sharesOf(now.power), scale = Math.max(...far(now), ...far(trained));
    return shown.map((i) => {
        const k = frequencies[i], { x, y } = now.places[i], share = percent(shares[k - 1]);
        return {
            title: [`Frequency ${k}`, element("small", {}, ` ${share}`)],
            picture: ring({ numbers, k, x, y }, scale, `The numbers on cosine and sine of frequency ${k}`),
            rows: [["number", "cosine", "sine"], ...numbers.map((number, j) => [number, x[j], y[j]])],
        };
    });
}

/** The shares of all frequencies `now`, `when`; the axis fits those of the `trained` model, too. `room`: for its width. */
export function spectrumFigure({ numbers, frequencies }, now, trained, when, room) {
    const shares = sharesOf(now.power), most = Math.max(...shares, ...sharesOf(trained.power));
    const isKey = (k) => (frequencies.includes(k) ? "yes" : "no");
    const said = frequencies.map((k) => `${k}: ${percent(shares[k - 1])}`).join(", ");
    return {
        title: ["Spectrum of the embedding", element("small", {}, ` ${when}`)],
        note: `How much of the numbers’ vectors goes round k times in ${numbers.length} places. Blue: the key ` +
            "frequencies, of which the trained model’s answers are made. Below, the numbers on the cosine and sine " +
            "of each; neighbours in the order of the places have like colours.",
        picture: columns(shares, frequencies, { most, room }, `Share of the embedding by frequency; the key ones ${said}`),
        rows: [["frequency", "share", "key"], ...shares.map((p, i) => [i + 1, p, isKey(i + 1)])],
    };
}
