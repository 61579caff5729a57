/* The likeliest outputs, as what a figure shows. */

import { bars } from "./bars.mjs";
import { percent, visible } from "./visible.mjs";

/** `top`: [{ id, p, q }], best first; `strong` is the number of one that stands out; q, if there is one, has a frame.
    `names` are tokens, which `show` makes visible. */
export function distribution(title, names, top, strong, show = visible) {
    const named = top.map((each) => ({ ...each, name: show(names[each.id] ?? String(each.id)) }));
    const shown = named.map(({ id, name, p, q }) => ({ name, p, frame: q, strong: id === strong }));
    const label = `Probabilities: ${named.map(({ name, p }) => `${name} ${percent(p)}`).join(", ")}`;
    const columns = ["output", "number", "probability", ...(top[0]?.q === undefined ? [] : ["drawn with"])];
    const rows = named.map(({ id, name, p, q }) => [name, id, p, q].slice(0, columns.length));
    return { title, picture: bars(shown, label), rows: [columns, ...rows] };
}
