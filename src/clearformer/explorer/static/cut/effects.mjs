/* What changes in the output, beside the untouched one. */

import { element } from "../dom.mjs";
import { heatmap } from "../heatmap.mjs";
import { signed, signedBars } from "../signed.mjs";
import { percent, shortened, token, visible } from "../visible.mjs";

const sum = (values) => values.reduce((a, b) => a + b, 0);
const number = (value) => value.toFixed(2).replace("-", "−");

/** The chosen output in a sentence, and what the model writes. */
export function sentences({ place, name, output }, { outputs, targets, writes }, untouched) {
    const { before, after } = outputs.find(({ id }) => id === output), p = (log) => percent(Math.exp(log));
    const words = untouched
        ? ` is ${number(before)}, P is ${p(before)}. Press a part to switch it off.`
        : ` changes by ${signed(after - before)}, from ${number(before)} to ${number(after)}; P from ${p(before)} to ${p(after)}.`;
    const where = place.length ? [place[0][0].toUpperCase() + place[0].slice(1), ...place.slice(1), ", "] : [];
    const known = targets.filter((each) => each.before !== undefined), whole = (when) => number(sum(known.map((each) => each[when])));
    const writing = (label, text) => element("p", {}, `${label}: `, text ? token(text) : "nothing");
    return [
        element("p", { class: "example" }, ...where, "ln P of ", token(name(output)), words),
        !untouched && known.length > 1 && element("p", {}, `ln P of all tokens of the text together: from ${whole("before")} to ${whole("after")}.`),
        writes.before !== undefined && writing("The model writes", writes.before),
        writes.before !== undefined && !untouched && writing("Changed, it writes", writes.after),
    ].filter(Boolean);
}

/** The outputs, from the largest gain to the largest loss. */
export function outputsFigure({ name, output }, outputs) {
    const sorted = outputs.map((each) => ({ ...each, change: each.after - each.before })).sort((a, b) => b.change - a.change);
    const rows = sorted.map(({ id, before, after, change }) => {
        const [from, to] = [before, after].map((log) => percent(Math.exp(log)));
        return { name: shortened(name(id)), value: change, note: `${from} → ${to}`, strong: id === output };
    });
    return {
        title: "Change of ln P",
        note: "Beside it P before and after. These outputs are the likeliest before or after.",
        picture: signedBars(rows, `Changes of ln P: ${rows.map((row) => `${row.name} ${signed(row.value)}`).join(", ")}`),
        rows: [
            ["output", "number", "ln P untouched", "ln P changed", "change"],
            ...sorted.map(({ id, before, after, change }) => [name(id), id, before, after, change]),
        ],
    };
}

/** The change at every token that the text has; none if there is one at most. */
export function tokensFigures({ text, own, where }, targets) {
    const places = own.map((id, t) => ({ t, id, ...targets[t] })).filter(({ id }) => id !== undefined);
    if (places.length < 2) return [];
    const names = places.map(({ t }) => text.tokens[where === "after " ? t + 1 : t]);
    const values = Float64Array.from(places, ({ before, after }) => after - before);
    const label = `Change of ln P of each token: ${names.map((each, i) => `${visible(each)} ${signed(values[i])}`).join(", ")}`;
    return [{
        title: "Change of ln P of each token", picture: heatmap({ T: 1, S: names.length, values }, [""], names, label).picture,
        rows: [["token", "ln P untouched", "ln P changed", "change"], ...places.map(({ before, after }, i) => [names[i], before, after, values[i]])],
    }];
}
