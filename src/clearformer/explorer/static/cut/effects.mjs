/* What changes in the output, beside the untouched one. */

import { element } from "../dom.mjs";
import { heatmap } from "../heatmap.mjs";
import { signed, signedBars } from "../signed.mjs";
import { percent, shortened, token, visible } from "../visible.mjs";

const sum = (values) => values.reduce((a, b) => a + b, 0);
const number = (value) => value.toFixed(2).replace("-", "−");

/** The chosen output in a sentence, and what the model writes. */
export function sentences({ place, name, output }, { outputs, targets, writes }, untouched) {
    const { before, after } = outputs.find(({ id }) => id === output), said = untouched
        ? [" ln P of ", token(name(output)), ` is ${number(before)}, P is ${percent(Math.exp(before))}. Press a part to switch it off.`]
        : [" ln P of ", token(name(output)), ` changes by ${signed(after - before)}, from ${number(before)} to ${number(after)}; P from ${percent(Math.exp(before))} to ${percent(Math.exp(after))}.`];
    const known = targets.filter(({ before }) => before !== undefined), [whole, other] = ["before", "after"].map((when) => number(sum(known.map((each) => each[when]))));
    const writing = (label, text) => element("p", {}, `${label}: `, text ? token(text) : "nothing");
    return [
        element("p", { class: "example" }, ...(place.length ? [place[0][0].toUpperCase() + place[0].slice(1), ...place.slice(1), ","] : []), said),
        ...(known.length > 1 && !untouched ? [element("p", {}, `ln P of all tokens of the text together: from ${whole} to ${other}.`)] : []),
        ...(writes.before === undefined ? [] : [writing("The model writes", writes.before), ...(untouched ? [] : [writing("Changed, it writes", writes.after)])]),
    ];
}

/** The outputs, from the largest gain to the largest loss. */
export function outputsFigure({ name, output }, outputs) {
    const sorted = [...outputs].sort((a, b) => b.after - b.before - (a.after - a.before)), p = (log) => percent(Math.exp(log));
    const rows = sorted.map(({ id, before, after }) => ({ name: shortened(name(id)), value: after - before, note: `${p(before)} → ${p(after)}`, strong: id === output }));
    return {
        title: "Change of ln P",
        note: "Beside it P before and after. These outputs are the likeliest before or after.",
        picture: signedBars(rows, `Changes of ln P: ${rows.map((row) => `${row.name} ${signed(row.value)}`).join(", ")}`),
        rows: [["output", "number", "ln P untouched", "ln P changed", "change"], ...sorted.map(({ id, before, after }) => [name(id), id, before, after, after - before])],
    };
}

/** The change at every token that the text has; none if there is one at most. */
export function tokensFigures({ text, own, where }, targets) {
    const places = own.map((id, t) => ({ t, id, ...targets[t] })).filter(({ id }) => id !== undefined);
    if (places.length < 2) return [];
    const names = places.map(({ t }) => text.tokens[where === "after " ? t + 1 : t]), values = Float64Array.from(places, ({ before, after }) => after - before);
    const label = `Change of ln P of each token: ${names.map((each, i) => `${visible(each)} ${signed(values[i])}`).join(", ")}`;
    return [{
        title: "Change of ln P of each token", picture: heatmap({ T: 1, S: names.length, values }, [""], names, label).picture,
        rows: [["token", "ln P untouched", "ln P changed", "change"], ...places.map(({ before, after }, i) => [names[i], before, after, values[i]])],
    }];
}
