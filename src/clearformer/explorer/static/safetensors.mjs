/* A safetensors file: 8 bytes with the length of a header in JSON, the header, and the numbers. */

/** The bytes of a file with tensors { shape, data }, of float32, by name. */
export function safetensors(tensors) {
    const header = {};
    let end = 0;
    for (const [name, { shape, data }] of tensors) {
        header[name] = { dtype: "F32", shape, data_offsets: [end, end + data.byteLength] };
        end += data.byteLength;
    }
    const text = new TextEncoder().encode(JSON.stringify(header)), start = 8 * Math.ceil(text.length / 8) + 8;
    const made = new Uint8Array(start + end).fill(32, 8, start); /* the header ends with spaces */
    new DataView(made.buffer).setBigUint64(0, BigInt(start - 8), true);
    made.set(text, 8);
    for (const [name, { data }] of tensors)
        new Float32Array(made.buffer, start + header[name].data_offsets[0], data.length).set(data);
    return made;
}
