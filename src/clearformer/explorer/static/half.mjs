/* Weights of half precision, float16, as the float32 that the engine reads. */

import { safetensors } from "./safetensors.mjs";

let numbers; /* of all bits, as that is quicker than to compute each */

/** The bytes of a safetensors file of float32, from those of one of float16. */
export function single(file) {
    const view = new DataView(file.buffer, file.byteOffset), start = 8 + Number(view.getBigUint64(0, true));
    const { __metadata__: _, ...header } = JSON.parse(new TextDecoder().decode(file.subarray(8, start)));
    numbers ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => ofHalf(bits));
    const floats = ([first, end]) => {
        const found = new Float32Array((end - first) / 2);
        for (let i = 0; i < found.length; i++) found[i] = numbers[view.getUint16(start + first + 2 * i, true)];
        return found;
    };
    const tensor = ({ shape, data_offsets: at }) => ({ shape, data: floats(at) });
    return safetensors(new Map(Object.entries(header).map(([name, each]) => [name, tensor(each)])));
}

/** Sign, 5 bits of exponent, 10 bits of fraction. */
function ofHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}
