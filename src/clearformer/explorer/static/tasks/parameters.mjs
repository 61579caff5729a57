/* Parameters of a model as they lie in its safetensors file: 8 bytes with the length of a header in JSON, the header,
   and the numbers. */

/** A function from a name to its numbers where they lie, or undefined if the model has none; a classifier's stand below
    "body.". */
export function parametersOf({ memory, file, family }) {
    const length = memory.count(file), start = file + 8 + length, prefix = family === "classifier" ? "body." : "";
    const header = JSON.parse(new TextDecoder().decode(memory.bytes(file + 8, length).slice()));
    return (name) => {
        if (!header[prefix + name]) return undefined;
        const [first, end] = header[prefix + name].data_offsets;
        return memory.floats(start + first, (end - first) / 4);
    };
}
