/* Look at a pass and change it: touch.c in JavaScript.

   A change { name, scale: factor } multiplies the numbers of a place, 0 cuts them off; { name, put: kept } replaces
   them by what `keep` returned of one text, or of as many as are computed. `heads`, `tokens` and `columns` are ranges
   [first, end], missing: everything; of attention weights, tokens are queries and columns are keys. */

import { isList } from "./inputs.mjs";
import { sizeOf } from "./memory.mjs";

const KEEP = 0, SCALE = 1, PUT = 2; /* actions */
const PLACE = { bytes: 136, heads: 112, tokens: 120, columns: 128 }; /* struct place: its size, where fields stand */
const AXES = ["heads", "tokens", "columns"];
const UNKNOWN = 2 ** 40; /* a number of tokens that is not known yet */

/** Everything that can be kept or changed, by name, in the order of computation, of T tokens and S of the source. */
export function placesOf(model, T = UNKNOWN, S = UNKNOWN) {
    const { c, memory } = model;
    return memory.within((scope) => {
        const at = scope.take(PLACE.bytes), found = {};
        for (let number = 0n; number < c.end_of_places(model.at); number++)
            if (c.find_place(model.at, number, BigInt(T), BigInt(S), at)) {
                const sizes = AXES.map((axis) => [axis, memory.count(at + PLACE[axis])]);
                found[memory.text(at)] = { number, ...Object.fromEntries(sizes) };
            }
        return found;
    });
}

function find(places, name) {
    if (!Object.hasOwn(places, name))
        throw Error(`a place's name was expected, found ${JSON.stringify(name)}; Object.keys(model.places()) has all`);
    return places[name];
}

/** What keeps places, undefined: all, of B texts: { name, shape, at, touch }; `at` is where the numbers will be. */
export function keepers(model, scope, names, { B, T, S }) {
    const places = placesOf(model, T, S);
    if (names !== undefined && !Array.isArray(names))
        throw Error(`an array of names was expected, or undefined for all, found ${typeof names}; give one`);
    return (names ?? Object.keys(places)).map((name) => {
        const { number, heads, tokens, columns } = find(places, name), rows = Math.max(heads, 1);
        const shape = heads ? [B, heads, tokens, columns] : [B, tokens, columns], size = B * rows * tokens * columns;
        const at = scope.take(4 * size);
        model.memory.floats(at, size).fill(0);
        return { name, shape, at, touch: [KEEP, 0, number, 0, rows, 0, tokens, 0, columns, B, at] };
    });
}

/** A change as the fields of a struct touch. */
export function touchOf(model, scope, change) {
    const place = find(placesOf(model), change?.name), sizes = [Math.max(place.heads, 1), place.tokens, place.columns];
    if (typeof change.scale === "number")
        return [SCALE, change.scale, place.number, ...rangesOf(change, sizes).flat(), 1, 0];
    const { shape, data } = valuesOf(place, change), [B, ...axes] = shape, ranges = rangesOf(change, axes);
    return [PUT, 0, place.number, ...ranges.flat(), B, scope.copy(slice(data, axes, B, ranges))];
}

/** Of heads, tokens and columns, within their sizes. */
function rangesOf(change, sizes) {
    return AXES.map((axis, i) => {
        const [first, end] = change[axis] === undefined ? [0, sizes[i]] : isList(change[axis]) ? change[axis] : [];
        if (!Number.isInteger(first) || !Number.isInteger(end) || first < 0 || first >= end || end > sizes[i])
            throw Error(`${axis} [first, end] from 0 to ${sizes[i] === UNKNOWN ? "any" : sizes[i]} were expected of ` +
                `${change.name}, found ${JSON.stringify(change[axis])}; choose others`);
        return [first, end];
    });
}

/** What is put in, [B, heads, tokens, columns]. */
function valuesOf(place, { name, put }) {
    const axes = [...(place.heads ? [place.heads] : []), place.tokens, place.columns], { shape, data } = put ?? {};
    const fits = Array.isArray(shape) && data instanceof Float32Array && shape.length === axes.length + 1 &&
        axes.every((size, i) => size === UNKNOWN || shape[i + 1] === size) && data.length === sizeOf(shape);
    if (!fits) {
        const words = ["B", ...axes.map((size) => (size === UNKNOWN ? "T" : size))].join(", ");
        throw Error(`scale, a number, or put, { shape: [${words}], data }, was expected of ${name}, found ` +
            `${JSON.stringify(shape)}; put in what keep returned`);
    }
    return { shape: place.heads ? shape : [shape[0], 1, ...shape.slice(1)], data };
}

/** The part of data [B, heads, tokens, columns] that lies in the ranges, without gaps. */
function slice(data, [H, T, W], B, [heads, tokens, [first, end]]) {
    const rows = [];
    for (let b = 0; b < B; b++)
        for (let h = heads[0]; h < heads[1]; h++)
            for (let t = tokens[0]; t < tokens[1]; t++) {
                const row = ((b * H + h) * T + t) * W;
                rows.push(data.subarray(row + first, row + end));
            }
    const out = new Float32Array(rows.length * (end - first));
    rows.forEach((row, i) => out.set(row, i * (end - first)));
    return out;
}
