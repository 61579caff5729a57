/* Weights of half precision, float16, as the float32 that the engine reads. */

/** A safetensors file: 8 bytes with the length of a header in JSON, the header, and the numbers. */
export function single(file) {
    const view = new DataView(file.buffer, file.byteOffset), length = Number(view.getBigUint64(0, true));
    const { __metadata__: _, ...header } = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length)));
    const numbers = (file.length - 8 - length) / 2, out = {};
    for (const [name, { shape, data_offsets: [first, end] }] of Object.entries(header))
        out[name] = { dtype: "F32", shape, data_offsets: [2 * first, 2 * end] };
    const text = new TextEncoder().encode(JSON.stringify(out)), start = Math.ceil((8 + text.length) / 8) * 8;
    const made = new Uint8Array(start + 4 * numbers).fill(32, 8, start); /* the header ends with spaces */
    new DataView(made.buffer).setBigUint64(0, BigInt(start - 8), true);
    made.set(text, 8);
    const floats = new Float32Array(made.buffer, start);
    for (let i = 0; i < numbers; i++) floats[i] = ofHalf(view.getUint16(8 + length + 2 * i, true));
    return made;
}

/** Sign, 5 bits of exponent, 10 bits of fraction. */
function ofHalf(bits) {
    const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction);
}
