/* What is changed of a model, as text in the address: "d0h2x0,d1fp,e0n17x0.5" is the decoder's layer 0, head 2, off; of
   its layer 1 the feed-forward layer, patched; of the encoder's layer 0 neuron 17, halved. */

import { stacksOf, sublayersOf } from "../stacks.mjs";

/* By letter: the place behind the layer's name (touch.c), the axis that a number is of, and what it is called. */
export const KINDS = {
    h: { place: "attention.core", axis: "heads", title: "head" },
    a: { place: "attention", title: "attention" },
    c: { place: "cross_attention.core", axis: "heads", title: "cross-attention head" },
    b: { place: "cross_attention", title: "cross-attention" },
    f: { place: "feed_forward", title: "feed-forward" },
    n: { place: "feed_forward.linear2.input", axis: "columns", title: "neuron" },
    s: { place: "feed_forward_residual", title: "residual stream" },
};
const CHANGE = /^([ed])(\d+)([hacbfns])(\d*)(?:x(-?\d+(?:\.\d+)?)|(p))$/;

/** The kinds that a layer of a stack has, by letter. */
export function kindsOf(family, stack) {
    const sublayers = sublayersOf(family, stack);
    return Object.keys(KINDS).filter((kind) => kind === "s" || sublayers.includes(KINDS[kind].place.split(".")[0]));
}

/** How many of a kind there are in a layer, if they have numbers. */
export const numberOf = (kind, { H, F }) => ({ heads: H, columns: F })[KINDS[kind].axis];

/** What the state's text says, without what this model lacks: { stack, layer, kind, number, factor | patch }. */
export function parse(text, { family, sizes }) {
    const stacks = new Map(stacksOf(family, sizes).map((stack) => [letterOf(stack), stack]));
    return text.split(",").flatMap((item) => {
        const [, letter, layer, kind, number, factor, patch] = item.match(CHANGE) ?? [], stack = stacks.get(letter);
        if (!stack || layer >= sizes.L || !kindsOf(family, stack).includes(kind)) return [];
        const most = numberOf(kind, sizes), fits = most === undefined ? number === "" : number !== "" && number < most;
        const part = { stack, layer: Number(layer), kind, ...(number && { number: Number(number) }) };
        return fits ? [patch ? { ...part, patch: true } : { ...part, factor: Number(factor) }] : [];
    });
}

const letterOf = ({ title }) => title[0].toLowerCase();
const whereOf = ({ stack, layer, kind, number }) => `${letterOf(stack)}${layer}${kind}${number ?? ""}`;
const written = (change) => whereOf(change) + (change.patch ? "p" : `x${change.factor}`);

export const write = (changes) => changes.map(written).join(",");

/** The changes with another one: it takes the place of one of the same part, and removes one that does the same. */
export function toggled(changes, change) {
    const others = changes.filter((each) => whereOf(each) !== whereOf(change));
    return changes.some((each) => written(each) === written(change)) ? others : [...others, change];
}

export const find = (changes, part) => changes.find((each) => whereOf(each) === whereOf(part));

/** "encoder, layer 0, head 2"; the stack only where there are two. */
export function title({ stack, layer, kind, number }, { family }) {
    const where = family === "transformer" ? `${stack.title.toLowerCase()}, ` : "";
    return `${where}layer ${layer}, ${KINDS[kind].title}${number === undefined ? "" : ` ${number}`}`;
}

/** "× 0", or "patched". */
export const effect = ({ factor, patch }) => (patch ? "patched" : `× ${factor}`);

/** As the task "cut" takes them. `only` are the tokens of each text that are changed; none: all. */
export function touches(changes, only) {
    return changes.flatMap(({ stack, layer, kind, number, factor, patch }) => {
        const { place, axis } = KINDS[kind], part = axis && { [axis]: [number, number + 1] }, tokens = only[stack.text];
        const how = patch ? { patch: true } : { scale: factor };
        const change = { name: `${stack.name}.layers.${layer}.${place}`, ...part, ...how };
        return tokens.length ? tokens.map((t) => ({ ...change, tokens: [t, t + 1] })) : [change];
    });
}
