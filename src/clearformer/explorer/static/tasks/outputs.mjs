/* What a model says: the likeliest next tokens, hidden tokens or classes, with their probabilities.

       p = softmax(logits)

   of all tokens of the vocabulary, none left out. */

import { logitsOf, pass } from "./pass.mjs";
import { likeliest, rowOf, softmax } from "./probability.mjs";

/** Of each position of T, or of a classifier's one, { top, target: { id, p } }: the `top` likeliest outputs, { id, p },
    best first, if it is among `positions` (by default all are); where `targets` has an output, its probability. */
export function outputs(session, { inputs, top = 10, positions, targets = [] }) {
    const logits = logitsOf(pass(session, inputs));
    const rows = Array.from({ length: logits.data.length / logits.shape.at(-1) }, (_, t) => {
        const p = softmax(rowOf(logits, t)), id = targets[t];
        return {
            top: !positions || positions.includes(t) ? likeliest(p, top) : [],
            target: id === undefined ? undefined : { id, p: p[id] },
        };
    });
    return { rows };
}
