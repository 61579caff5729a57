/* What changes in the output, beside the untouched one. */

import { element } from "../dom.mjs";
import { heatmap } from "../heatmap.mjs";
import { sum } from "../numbers.mjs";
import { signed, signedBars } from "../signed.mjs";
import { percent, shortened, token, visible } from "../visible.mjs";

const number = (value) => value.toFixed(2).replace("-", "−");
const share = (logP) => percent(Math.exp(logP));

/** The chosen output in a sentence, and what the model writes. */
export function sentences({ place, name, output }, { outputs, targets, writes }, untouched) {
    const { before, after } = outputs.find(({ id }) => id === output), known = targets.filter((each) => each);
    const whole = (when) => number(sum(known.map((each) => each[when])));
    const from = `${number(before)} to ${number(after)}; P from ${share(before)} to ${share(after)}`;
    const words = untouched
        ? ` is ${number(before)}, P is ${share(before)}. Press a part to switch it off.`
        : ` changes by ${signed(after - before)}, from ${from}.`;
    const [first, ...rest] = place, where = first ? [first[0].toUpperCase() + first.slice(1), ...rest, ", "] : [];
    const writing = (label, text) => element("p", {}, `${label}: `, text ? token(text) : "nothing");
    return [
        element("p", { class: "example" }, ...where, "ln P of ", token(name(output)), words),
        !untouched && known.length > 1 &&
            element("p", {}, `ln P of all tokens of the text together: from ${whole("before")} to ${whole("after")}.`),
        writes.before !== undefined && writing("The model writes", writes.before),
        writes.before !== undefined && !untouched && writing("Changed, it writes", writes.after),
    ].filter(Boolean);
}

/** The outputs, from the largest gain to the largest loss. */
export function outputsFigure({ name, output }, outputs) {
    const changes = outputs.map((each) => ({ ...each, change: each.after - each.before }));
    const sorted = changes.sort((a, b) => b.change - a.change);
    const row = ({ id, before, after, change: value }) =>
        ({ name: shortened(name(id)), value, note: `${share(before)} → ${share(after)}`, strong: id === output });
    const rows = sorted.map(row), label = rows.map((each) => `${each.name} ${signed(each.value)}`).join(", ");
    return {
        title: "Change of ln P",
        note: "ln P is the natural logarithm of the probability P. These outputs are the likeliest before or after.",
        picture: signedBars(rows, `Changes of ln P: ${label}`),
        rows: [
            ["output", "number", "ln P untouched", "ln P changed", "change"],
            ...sorted.map(({ id, before, after, change }) => [name(id), id, before, after, change]),
        ],
    };
}

/** The change at every token that the text has; none if there is one at most. */
export function tokensFigures({ text, where }, targets) {
    const shift = where === "after " ? 1 : 0, places = targets.flatMap((each, t) => (each ? [{ ...each, t }] : []));
    if (places.length < 2) return [];
    const names = places.map(({ t }) => text.tokens[t + shift]);
    const values = Float64Array.from(places, ({ before, after }) => after - before);
    const said = names.map((each, i) => `${visible(each)} ${signed(values[i])}`).join(", ");
    const size = { T: 1, S: names.length }, label = `Change of ln P: ${said}`;
    return [{
        title: "Change of ln P of each token",
        picture: heatmap({ ...size, values }, [""], names, label, { wide: true }).picture,
        rows: [
            ["token", "ln P untouched", "ln P changed", "change"],
            ...places.map(({ before, after }, i) => [names[i], before, after, values[i]]),
        ],
    }];
}
