/* The parameters of a model, where they lie in memory. */

import { sizeOf } from "./memory.mjs";

const TENSOR = { bytes: 32, rows: 8, columns: 16, at: 24 }; /* struct tensor: its size, and where fields stand */

/** The model's parameters, which stand in its file: { name, text, shape, size, at }. */
export function tensorsOf({ c, memory, file, size, fault }, scope) {
    const number = scope.take(8), bytes = Number(c.read_tensors(file, size, 0, number, fault));
    if (!bytes) throw Error(memory.text(fault)); /* training may have left weights that are not finite */
    const table = scope.take(bytes);
    c.read_tensors(file, size, table, number, fault);
    return Array.from({ length: memory.count(number) }, (_, i) => {
        const tensor = table + i * TENSOR.bytes, text = memory.pointer(tensor);
        const shape = [TENSOR.rows, TENSOR.columns].map((at) => memory.count(tensor + at)).filter((size) => size > 0);
        return { name: memory.text(text), text, shape, size: sizeOf(shape), at: memory.pointer(tensor + TENSOR.at) };
    });
}
