/* The likeliest outputs, as what a figure shows. */

import { bars } from "./bars.mjs";
import { percent, visible } from "./visible.mjs";

/** `top`: [{ id, p, q }], best first; `strong` is the number of one that stands out; q, if there is one, has a frame. */
export function distribution(title, names, top, strong) {
    const name = (id) => names[id] ?? String(id), frames = top.some(({ q }) => q !== undefined);
    const label = `Probabilities: ${top.map(({ id, p }) => `${visible(name(id))} ${percent(p)}`).join(", ")}`;
    return {
        title,
        picture: bars(top.map(({ id, p, q }) => ({ name: name(id), p, frame: q, strong: id === strong })), label),
        rows: [["output", "number", "probability", ...(frames ? ["drawn with"] : [])], ...top.map(({ id, p, q }) => [name(id), id, p, ...(frames ? [q] : [])])],
    };
}
