/* A run's tokenizer in WebAssembly: text to tokens and back, as tokenizer.c does it.

       const tokenizer = engine.tokenizer(text);      // the text of tokenizer.json
       const imported = engine.tokenizer(text, names); // and of special_tokens_map.json
       tokenizer.decode(tokenizer.encode("So it is."))
       for (const piece of tokenizer.stream(model.generate(tokens))) ... */

import { FAULT_SIZE } from "./memory.mjs";

const PARTIAL = 8; /* bytes of struct partial, zeros: nothing is left */
const BEGUN = Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0); /* behind another token */
const ROLES = ["pad", "bos", "eos", "unk", "mask"], MOST_AROUND = 4; /* of struct tokenizer */

export class Tokenizer {
    /** Of the text of tokenizer.json, and of special_tokens_map.json beside an imported one. Then `special` has the ids
        of special tokens by their roles, undefined where there is none, and `around` those before a text and behind. */
    constructor({ c, memory }, text, names = "") {
        Object.assign(this, { c, memory }, memory.hold((scope) => {
            const [file, roles] = [text, names].map((each) => new TextEncoder().encode(each));
            const fault = scope.take(FAULT_SIZE), beside = names === "" ? 0 : scope.copy(roles);
            const given = [scope.copy(file), BigInt(file.length), beside, BigInt(roles.length)];
            const size = Number(c.read_tokenizer(...given, 0, fault)), at = size ? scope.take(size) : 0;
            if (!size || !c.read_tokenizer(...given, at, fault)) throw Error(memory.text(fault));
            return { at, ...this.#begin(memory.ints(at, 2 + ROLES.length + 2 + 2 * MOST_AROUND)) };
        }));
    }

    /** What the struct begins with. */
    #begin([, size, ...integers]) {
        const ids = integers.slice(ROLES.length + 2), numbers = integers.slice(ROLES.length, ROLES.length + 2);
        const special = Object.fromEntries(ROLES.map((role, i) => [role, integers[i] < 0 ? undefined : integers[i]]));
        const around = numbers.map((n, i) => ids.slice(MOST_AROUND * i, MOST_AROUND * i + n));
        return { size, special, around };
    }

    /** Whether a language model never generates a token; those beyond the vocabulary are none. */
    isNeverWritten(id) {
        return this.c.is_never_written(this.at, id) !== 0;
    }

    free() {
        this.scope.end();
    }

    /** The tokens of a text, without those around it. */
    encode(text) {
        return this.memory.within((scope) => {
            const bytes = new TextEncoder().encode(text);
            const ids = scope.take(4 * Number(this.c.most_tokens(this.at, BigInt(bytes.length))));
            const given = [this.at, scope.copy(bytes), BigInt(bytes.length), ids];
            const room = scope.take(Number(this.c.encode_text(...given, 0)));
            return [...this.memory.ints(ids, Number(this.c.encode_text(...given, room)))];
        });
    }

    /** The text of tokens; special ones have none, but for those of the unknown and of a hole. */
    decode(tokens) {
        return this.#decode(tokens).text;
    }

    /** The text of a token behind others, with the space before it if it has one. */
    behind(token) {
        const { text, rest } = this.#decode([token], BEGUN);
        return text + this.#decode([], rest).text;
    }

    /** Yields the text of tokens as they come, behind the tokens `before`; a character of several tokens comes with the
        last of them. */
    *stream(tokens, before = []) {
        let { rest, text } = this.#decode(before, new Uint8Array(PARTIAL));
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
