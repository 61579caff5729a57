/* The memory of the WebAssembly module: who has which part of it, and the structs of transformer.h in it. */

/** The fields of a struct: q count, p pointer, i int32, f float. */
const LAYOUTS = {
    pointer: "p", tensor: "pqqp", batch: "qqpppp", memory: "qpp", cache: "qqqppppp", objective: "pffi",
    update: "qppppfff", touch: "ifqqqqqqqqp",
};
export const FAULT_SIZE = 320; /* bytes of a sentence in fault.h */
const FIELDS = {
    q: [8, (view, at, value) => view.setBigInt64(at, BigInt(value), true)],
    p: [4, (view, at, value) => view.setUint32(at, value, true)],
    i: [4, (view, at, value) => view.setInt32(at, value, true)],
    f: [4, (view, at, value) => view.setFloat32(at, value, true)],
};
const PAGE = 65536, LIMIT = 65536 * PAGE; /* of an address of 32 bits */

/** How many numbers an array of a shape has. */
export const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

const upTo = (multiple, n) => Math.ceil(n / multiple) * multiple;

/** Offsets of a layout's fields; each stands at a multiple of its size, and so does the next struct of a table. */
function offsets(layout) {
    let end = 0, largest = 4;
    const found = [...layout].map((field) => {
        const size = FIELDS[field][0], at = upTo(size, end);
        end = at + size;
        largest = Math.max(largest, size);
        return at;
    });
    return { found, size: upTo(largest, end) };
}

export class Memory {
    /** All beyond what the module itself has. */
    constructor(memory) {
        this.memory = memory;
        this.start = memory.buffer.byteLength;
        this.taken = []; /* in the order of addresses */
    }

    /** The address of `bytes` free bytes, at a multiple of 64: the first gap. */
    take(bytes) {
        let at = this.start, index = 0;
        while (index < this.taken.length && this.taken[index].at - at < bytes) at = this.taken[index++].end;
        const end = upTo(64, at + Math.max(bytes, 1));
        if (end > LIMIT) throw tooLarge(bytes);
        const missing = end - this.memory.buffer.byteLength;
        try {
            if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
        } catch {
            throw tooLarge(bytes);
        }
        this.taken.splice(index, 0, { at, end });
        return at;
    }

    give(at) {
        this.taken.splice(this.taken.findIndex((part) => part.at === at), 1);
    }

    /** Run `work` with a scope that ends with it. */
    within(work) {
        const scope = new Scope(this);
        try {
            return work(scope);
        } finally {
            scope.end();
        }
    }

    /** What `work` returns, an object, and the scope that it used, which does not end unless it fails. */
    hold(work) {
        const scope = new Scope(this);
        try {
            return { ...work(scope), scope };
        } catch (error) {
            scope.end();
            throw error;
        }
    }

    /** What stands there, as long as the memory does not grow. */
    floats(at, number) {
        return new Float32Array(this.memory.buffer, at, number);
    }

    ints(at, number) {
        return new Int32Array(this.memory.buffer, at, number);
    }

    bytes(at, number) {
        return new Uint8Array(this.memory.buffer, at, number);
    }

    get view() {
        return new DataView(this.memory.buffer);
    }

    /** A pointer, or a count, that C has written. */
    pointer(at) {
        return this.view.getUint32(at, true);
    }

    count(at) {
        return Number(this.view.getBigInt64(at, true));
    }

    /** Text that ends with a zero. */
    text(at) {
        const rest = new Uint8Array(this.memory.buffer, at);
        return new TextDecoder().decode(rest.slice(0, rest.indexOf(0)));
    }
}

/** Memory that is given back together. */
export class Scope {
    constructor(memory) {
        this.memory = memory;
        this.taken = [];
    }

    take(bytes) {
        const at = this.memory.take(bytes);
        this.taken.push(at);
        return at;
    }

    /** The address of a copy of an array of numbers. */
    copy(array) {
        const at = this.take(array.byteLength);
        this.memory.bytes(at, array.byteLength).set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
        return at;
    }

    /** The address of structs, one after the other, each given as the values of its fields. */
    table(name, rows) {
        const { found, size } = offsets(LAYOUTS[name]), at = this.take(size * rows.length), view = this.memory.view;
        rows.forEach((values, row) =>
            [...LAYOUTS[name]].forEach((field, i) => FIELDS[field][1](view, at + row * size + found[i], values[i])));
        return at;
    }

    struct(name, ...values) {
        return this.table(name, [values]);
    }

    end() {
        this.taken.forEach((at) => this.memory.give(at));
        this.taken = [];
    }
}

const tooLarge = (bytes) => Error(
    `4 GB of memory were expected to do, found a need for ${(bytes / 1e9).toFixed(1)} GB more; use a smaller model, ` +
    "or fewer and shorter texts");
