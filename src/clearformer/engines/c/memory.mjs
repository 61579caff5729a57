/* The memory of the WebAssembly module: who has which part of it. */

import { structs, upTo } from "./structs.mjs";

export const FAULT_SIZE = 320; /* bytes of a sentence in fault.h */
const PAGE = 65536, LIMIT = 65536 * PAGE; /* of an address of 32 bits */

/** How many numbers an array of a shape has. */
export const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

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
class Scope {
    constructor(memory) {
        this.memory = memory;
        this.taken = [];
    }

    take(bytes) {
        const at = this.memory.take(bytes);
        this.taken.push(at);
        return at;
    }

    /** The address of a copy of a typed array, or of a DataView. */
    copy(array) {
        const at = this.take(array.byteLength);
        this.memory.bytes(at, array.byteLength).set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
        return at;
    }

    /** The address of structs, one after the other, each given as the values of its fields. */
    table(name, rows) {
        return this.copy(structs(name, rows));
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
