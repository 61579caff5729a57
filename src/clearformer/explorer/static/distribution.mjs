/* The likeliest outputs, as what a figure shows. */

import { bars } from "./bars.mjs";
import { percent, visible } from "./visible.mjs";

/** `top`: [{ id, p, q }], best first; `strong` is the number of one that stands out; q, if there is one, has a frame.
    `names` are tokens, which `show` makes visible. */
export function distribution(title, names, top, strong, show = visible) {
    const name = (id) => show(names[id] ?? String(id)), frames = top.some(({ q }) => q !== undefined);
    return {
        title,
        picture: bars(top.map(({ id, p, q }) => ({ name: name(id), p, frame: q, strong: id === strong })),
            `Probabilities: ${top.map(({ id, p }) => `${name(id)} ${percent(p)}`).join(", ")}`),
        rows: [["output", "number", "probability", ...(frames ? ["drawn with"] : [])], ...top.map(({ id, p, q }) => [name(id), id, p, ...(frames ? [q] : [])])],
    };
}
