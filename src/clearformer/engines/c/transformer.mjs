/* A run's model in WebAssembly, in Node or in a browser's worker: transformer.wasm computes, and this gives it memory.

       const engine = await instantiate(bytes);             // of transformer.wasm
       const model = engine.load(weights, config);          // bytes of model.safetensors, the object of config.json
       const { shape, data } = model.run([5, 6, 7]);        // logits [1, 3, V]
       const kept = model.keep(undefined, [5, 6, 7]);       // everything on the way, by name
       model.change([{ name: "decoder.layers.0.attention.core", heads: [2, 3], scale: 0 }]);
       for (const token of model.generate([5, 6, 7], { maxTokens: 20 })) ...
       model.free();

   A text is an array of tokens; several texts are an array of those. The inputs of a GPT are a text or texts, of a BERT
   or a classifier { tokens, segments }, of an encoder-decoder { source, target }, each of them a text or texts. The
   letters in shapes are those of transformer.h. What cannot be done throws an Error with one sentence. */

import { translate } from "./beam.mjs";
import { generate } from "./decoding.mjs";
import { readInputs } from "./inputs.mjs";
import { FAULT_SIZE, Memory, sizeOf } from "./memory.mjs";
import { Tokenizer } from "./tokenizer.mjs";
import { keepers, placesOf, touchOf } from "./touch.mjs";

const INFERENCE = 0; /* purposes of a room */
export const LOSS = 1, TRAINING = 2;
const FAMILIES = ["transformer", "gpt", "bert", "classifier"];
const INTEGERS = [ /* of struct config */
    "family", "V", "context", "D", "H", "G", "L", "F", "C", "segments", "ngramBuckets", "window", "normKind",
    "postNorm", "activation", "positions", "bias", "scaleEmbeddings", "tieEmbeddings", "qkNorm", "causalBody",
    "pooling", "outputBias", "E", "rotaryContext",
];

export async function instantiate(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes);
    return new Engine(instance.exports);
}

class Engine {
    constructor(c) {
        this.c = c;
        this.memory = new Memory(c.memory);
    }

    /** A model; the bytes of its weights are copied once, and read where they lie. */
    load(weights, config) {
        const text = new TextEncoder().encode(JSON.stringify(config) ?? "");
        return new Model(this, this.memory.hold((scope) => this.#open(scope, bytesOf(weights), text)));
    }

    /** By the text of tokenizer.json, and that of special_tokens_map.json beside an imported one. */
    tokenizer(text, names) {
        return new Tokenizer(this, text, names);
    }

    #open(scope, weights, config) {
        const { c, memory } = this, fault = scope.take(FAULT_SIZE), file = scope.copy(weights);
        const size = BigInt(weights.length), given = [scope.copy(config), BigInt(config.length), file, size];
        const bytes = Number(c.open_model(...given, 0, fault)), at = bytes ? scope.take(bytes) : 0;
        if (!bytes || !c.open_model(...given, at, fault)) throw Error(memory.text(fault));
        return { at, file, size, fault };
    }
}

class Model {
    #at;

    /** `at`: its struct; `file`: its weights, of `size` bytes; `scope`: its memory. */
    constructor({ c, memory }, { at, file, size, fault, scope }) {
        this.#at = at;
        Object.assign(this, { c, memory, file, size, fault, scope });
        this.changes = memory.hold(() => ({ touches: [] }));
        const integers = memory.ints(at, INTEGERS.length);
        this.sizes = Object.fromEntries(INTEGERS.map((name, i) => [name, integers[i]]));
        this.family = FAMILIES[this.sizes.family];
    }

    /** Where C has it. */
    get at() {
        if (!this.#at) throw Error("a model was expected, found one that was freed; load it again");
        return this.#at;
    }

    /** Give all memory back. */
    free() {
        this.#at = 0;
        this.changes.scope.end();
        this.scope.end();
    }

    /** The logits { shape, data } of all tokens, [B, T, V], or of a classifier, [B, C]. */
    run(inputs) {
        return this.memory.within((scope) => this.#pass(scope, readInputs(this, scope, inputs), []));
    }

    /** What stands at places during a pass, undefined: at all, by name; and the logits, by the last module's name.
        Vectors are [B, T, width], what heads have is [B, H, T, E], attention weights are [B, H, T, S]. */
    keep(names, inputs) {
        return this.memory.within((scope) => {
            const given = readInputs(this, scope, inputs), kept = keepers(this, scope, names, given);
            const logits = this.#pass(scope, given, kept.map(({ touch }) => touch));
            const found = Object.fromEntries(kept.map(({ name, shape, at }) => [name, this.array(shape, at)]));
            return { ...found, [this.family === "classifier" ? "class_projection" : "output_projection"]: logits };
        });
    }

    /** Change what all that follows computes, in this order, and no longer as before; see touch.mjs. */
    change(changes) {
        if (!Array.isArray(changes)) throw Error(`an array of changes was expected, found ${typeof changes}; give one`);
        const made = this.memory.hold((scope) => ({ touches: changes.map((change) => touchOf(this, scope, change)) }));
        this.changes.scope.end();
        this.changes = made;
    }

    /** The places that can be kept or changed, by name. */
    places() {
        return placesOf(this);
    }

    /** Yields token after token of a text that goes on, or of an encoder-decoder's target; see decoding.mjs. */
    generate(inputs, options) {
        return generate(this, inputs, options);
    }

    /** The targets of an encoder-decoder, by beam search; see beam.mjs. */
    translate(sources, options) {
        return translate(this, sources, options);
    }

    /** Numbers at an address, copied, as the memory may move. */
    array(shape, at) {
        return { shape, data: this.memory.floats(at, sizeOf(shape)).slice() };
    }

    /** Room for a pass, with all changes and more touches. `keys`: tokens that the cache can hold. */
    room(scope, { B, T, S }, { keys = 0, purpose = INFERENCE, touches = [] } = {}) {
        const sizes = [...[B, T, S, keys].map(BigInt), purpose], result = scope.struct("pointer", 0);
        const at = scope.take(Number(this.c.make_room(this.at, ...sizes, 0, 0)));
        this.c.make_room(this.at, ...sizes, at, result);
        const room = this.memory.pointer(result), all = [...this.changes.touches, ...touches];
        const rows = all.map((touch) => touch.at(-2)).find((number) => number !== 1 && number !== B);
        if (rows) throw Error(`values of 1 or ${B} texts were expected, found ${rows}; put in those of one`);
        if (all.length && purpose === TRAINING)
            throw Error(`training was expected without changes, found ${all.length}; undo them with change([])`);
        if (all.length) this.c.set_touches(room, scope.table("touch", all), BigInt(all.length));
        return room;
    }

    /** The encoder's output [B, S, D] of sources as a struct memory. */
    encode(scope, source, room) {
        return scope.struct("memory", source.T, this.c.encoder_features(this.at, source.at, room), source.real);
    }

    #pass(scope, given, touches) {
        const { c, at } = this, { B, T, source } = given, { V, C, causalBody } = this.sizes;
        const classifies = this.family === "classifier", room = this.room(scope, given, { touches });
        const memory = source ? this.encode(scope, source, room) : scope.struct("memory", 0, 0, 0);
        const features = this.family === "bert" || (classifies && !causalBody)
            ? c.encoder_features(at, given.at, room) : c.decoder_features(at, given.at, memory, room);
        const shape = classifies ? [B, C] : [B, T, V], logits = scope.take(4 * sizeOf(shape));
        if (classifies) c.class_logits(at, given.at, features, logits, room);
        else c.token_logits(at, BigInt(B * T), features, logits, room);
        return this.array(shape, logits);
    }
}

/** What a file holds, as an array of bytes. */
function bytesOf(file) {
    if (file instanceof ArrayBuffer) return new Uint8Array(file);
    if (ArrayBuffer.isView(file)) return new Uint8Array(file.buffer, file.byteOffset, file.byteLength);
    throw Error(`the bytes of model.safetensors were expected, found ${typeof file}; give an ArrayBuffer`);
}
