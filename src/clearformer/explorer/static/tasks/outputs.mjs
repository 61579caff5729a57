/* What a model says: the likeliest next tokens, hidden tokens or classes, with their probabilities.

       p = softmax(logits)

   of all tokens of the vocabulary, none left out. */

import { logitsOf, pass } from "./pass.mjs";

/** Of each position of T, or of a classifier's one: the `top` likeliest outputs, { id, p }, best first, if it is among
    `positions` (by default all are); and, where `targets` has an output for it, its probability: { top, target: { id, p } }. */
export function outputs(session, { inputs, top = 10, positions, targets = [] }) {
    const { shape, data } = logitsOf(pass(session, inputs)), width = shape.at(-1);
    const rows = Array.from({ length: data.length / width }, (_, t) => {
        const p = softmax(data.subarray(t * width, (t + 1) * width)), id = targets[t];
        return {
            top: !positions || positions.includes(t) ? likeliest(p, top) : [],
            target: id === undefined ? undefined : { id, p: p[id] },
        };
    });
    return { rows };
}

/** In float64. */
export function softmax(logits) {
    const p = new Float64Array(logits.length);
    let most = -Infinity, total = 0;
    for (const z of logits) most = Math.max(most, z);
    for (let i = 0; i < p.length; i++) total += p[i] = Math.exp(logits[i] - most);
    for (let i = 0; i < p.length; i++) p[i] /= total;
    return p;
}

/** The `top` largest numbers and their places; of equals the first. */
export function likeliest(p, top) {
    const least = p.slice().sort()[Math.max(p.length - top, 0)];
    const found = [...p.keys()].filter((id) => p[id] >= least).map((id) => ({ id, p: p[id] }));
    return found.sort((a, b) => b.p - a.p).slice(0, top);
}
