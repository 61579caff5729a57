/* What positions add to the scores of attention. */

import { POSITIONS } from "../stacks.mjs";
import { parametersOf } from "./vectors.mjs";

const BUCKETS = 32, FURTHEST = 128;
const BIASES = { alibi, relative };

/** A function of the head and of how many positions a key stands behind its query, of the attention with this core. */
export function biasOf(model, part, core) {
    const bias = part === "cross" ? undefined : BIASES[POSITIONS[model.sizes.positions]];
    return bias ? bias(model, part, core) : () => 0;
}

/** As blocks/alibi.py. */
function alibi({ sizes: { H } }) {
    const power = 2 ** Math.floor(Math.log2(H));
    const exponent = (h) => (h < power ? (-8 * (h + 1)) / power : (-4 * (2 * (h - power) + 1)) / power);
    return (h, offset) => -(2 ** exponent(h)) * Math.abs(offset);
}

/** As blocks/relative.py. */
function relative(model, part, core) {
    const table = parametersOf(model)(core.replace(/layers\..*/, "relative.weight")), { H } = model.sizes;
    return (h, offset) => table[bucket(offset, part === "decoder") * H + h];
}

function bucket(offset, causal) {
    const number = causal ? BUCKETS : BUCKETS / 2, exact = number / 2, distance = Math.abs(offset);
    const share = Math.log(distance / exact) / Math.log(FURTHEST / exact);
    const found = distance < exact ? distance : Math.min(exact + Math.floor(share * exact), number - 1);
    return causal || offset <= 0 ? found : found + number;
}
