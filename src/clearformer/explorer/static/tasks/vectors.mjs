/* Sums of vectors as their parts, in float64: what each part of a model adds to one.

   A norm divides by a number, the standard deviation or the root mean square. With this number held as it is, the norm
   is a linear map, and the norm of a sum is the sum of its parts under it: clearformer/inspection/contributions.py. */

import { tensorsOf } from "../../../engines/c/tensors.mjs";
import { NORMS } from "../stacks.mjs";

const EPS = 1e-5; /* of norms, as in PyTorch */

const found = new WeakMap(); /* by model: where its parameters are, which takes long to find */

/** Parameters by name, as they lie in the engine's memory until it grows; undefined if there is none of that name. */
export function parametersOf(model) {
    if (!found.has(model)) {
        const tensors = model.memory.within((scope) => tensorsOf(model, scope));
        found.set(model, new Map(tensors.map((tensor) => [tensor.name, tensor])));
    }
    return (name) => {
        const tensor = found.get(model).get(name);
        return tensor && model.memory.floats(tensor.at, tensor.size);
    };
}

/** W x for W [out, in], of which columns from `first` are taken, as many as x has. */
export function times(W, columns, x, first = 0) {
    const out = new Float64Array(W.length / columns);
    for (let i = 0; i < out.length; i++) {
        const row = i * columns + first;
        let sum = 0;
        for (let j = 0; j < x.length; j++) sum += W[row + j] * x[j];
        out[i] = sum;
    }
    return out;
}

export function dot(x, y) {
    let sum = 0;
    for (let i = 0; i < x.length; i++) sum += x[i] * y[i];
    return sum;
}

/** x += y, if there is a y. */
export function add(x, y) {
    if (y) for (let i = 0; i < x.length; i++) x[i] += y[i];
}

export function sumOf(parts) {
    const sum = new Float64Array(parts[0].length);
    for (const part of parts) add(sum, part);
    return sum;
}

/** Norm, in place, the sum of the parts, with its scale held; the first part gets the bias. A model without norms has
    no weight of one, and the parts stay as they are. */
export function hold(parts, weight, bias, normKind) {
    if (!weight) return;
    const x = sumOf(parts), mean = (y) => y.reduce((a, b) => a + b, 0) / y.length;
    for (const part of NORMS[normKind] === "rms" ? [] : [x, ...parts]) {
        const middle = mean(part);
        for (let i = 0; i < part.length; i++) part[i] -= middle;
    }
    const r = 1 / Math.sqrt(dot(x, x) / x.length + EPS);
    for (const part of parts) for (let i = 0; i < part.length; i++) part[i] *= r * weight[i];
    add(parts[0], bias);
}
