/* A run's tokenizer in WebAssembly: text to tokens and back, as tokenizer.c does it.

       const tokenizer = engine.tokenizer(text);      // the text of tokenizer.json
       tokenizer.decode(tokenizer.encode("So it is."))
       for (const piece of tokenizer.stream(model.generate(tokens))) ... */

import { FAULT_SIZE } from "./memory.mjs";

const PARTIAL = 8; /* bytes of struct partial, zeros: nothing is left */

export class Tokenizer {
    /** Of the text of tokenizer.json. */
    constructor({ c, memory }, text) {
        Object.assign(this, { c, memory }, memory.hold((scope) => {
            const bytes = new TextEncoder().encode(text), fault = scope.take(FAULT_SIZE);
            const given = [scope.copy(bytes), BigInt(bytes.length)];
            const size = Number(c.read_tokenizer(...given, 0, fault)), at = size ? scope.take(size) : 0;
            if (!size || !c.read_tokenizer(...given, at, fault)) throw Error(memory.text(fault));
            return { at };
        }));
    }

    free() {
        this.scope.end();
    }

    /** The tokens of a text. */
    encode(text) {
        return this.memory.within((scope) => {
            const bytes = new TextEncoder().encode(text), ids = scope.take(4 * bytes.length);
            const given = [this.at, scope.copy(bytes), BigInt(bytes.length), ids];
            const room = scope.take(Number(this.c.encode_text(...given, 0)));
            return [...this.memory.ints(ids, Number(this.c.encode_text(...given, room)))];
        });
    }

    /** The text of tokens; PAD, BOS and EOS have none. */
    decode(tokens) {
        return this.#decode(tokens).text;
    }

    /** Yields the text of tokens as they come; a character of several tokens comes with the last of them. */
    *stream(tokens) {
        let rest = new Uint8Array(PARTIAL), text;
        for (const token of tokens) {
            ({ text, rest } = this.#decode([token], rest));
            if (text) yield text;
        }
        ({ text } = this.#decode([], rest));
        if (text) yield text;
    }

    /** `rest`: the first bytes of a character, as a struct partial; in a stream there is one. */
    #decode(tokens, rest) {
        return this.memory.within((scope) => {
            const at = rest ? scope.copy(rest) : 0, ids = Int32Array.from(tokens);
            const given = [this.at, scope.copy(ids), BigInt(ids.length), at];
            const to = scope.take(Number(this.c.decode_tokens(...given, 0)));
            const bytes = this.memory.bytes(to, Number(this.c.decode_tokens(...given, to))).slice();
            const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
            return { text, rest: rest && this.memory.bytes(at, PARTIAL).slice() };
        });
    }
}
