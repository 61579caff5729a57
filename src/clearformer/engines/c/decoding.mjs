/* Decoding: read the prompt in one pass, then one token a step through the key-value cache; cache.c has the reason. */

import { isList, readBatch, textsOf } from "./inputs.mjs";
import { Sampler } from "./sampling.mjs";

export const PAD = 0, BOS = 1, EOS = 2, UNK = 3; /* tokens of clearformer/data/tokenizers.py */
export const NEVER = { gpt: [PAD, BOS, EOS, UNK], transformer: [PAD, BOS, UNK] }; /* tokens that are never generated */
const EXTRA_TOKENS = 50; /* a target may be this many tokens longer than its source */

/** The most tokens of a source's target, EOS included. */
export const targetLimit = (model, source) => Math.min(model.sizes.context, source.length + EXTRA_TOKENS);

/** Rows of tokens that grow by one a step: of a GPT, or of targets that begin with BOS. */
export class Decoder {
    /** `capacity`: of the cache, in tokens a row; `sources`: a text with EOS for each row. */
    constructor(model, rows, capacity, sources) {
        Object.assign(this, { model, rows, capacity, sources: { M: 0, S: 0, keysValues: 0, real: 0 } });
        try {
            if (sources) this.#read(sources);
            this.cache = this.#makeCache(rows.length);
        } catch (error) {
            this.free();
            throw error;
        }
    }

    /** Encode the sources, and keep their keys and values of all layers. */
    #read(texts) {
        const { model } = this, { memory } = model, { L, G, E } = model.sizes;
        memory.within((scope) => {
            const batch = readBatch(model, scope, texts, { what: "source" }), { B: M, T: S } = batch;
            const room = model.room(scope, { B: M, T: 1, S }), from = model.encode(scope, batch, room);
            this.sources = memory.hold((kept) => {
                const keysValues = kept.take(4 * L * M * S * 2 * G * E);
                model.c.remember(model.at, BigInt(M), from, keysValues, room);
                return { M, S, keysValues, real: kept.copy(memory.bytes(batch.real, M * S).slice()) };
            });
        });
    }

    /** For B rows; with sources row i translates source i. */
    #makeCache(B) {
        const { model, capacity } = this, { M, S, keysValues } = this.sources, { L, G, E } = model.sizes;
        return model.memory.hold((scope) => {
            const lengths = scope.copy(new Int32Array(B)), sources = scope.copy(Int32Array.from(Array(B).keys()));
            const tokens = scope.take(4 * B * capacity);
            const [keys, values] = [0, 1].map(() => scope.take(4 * L * B * G * capacity * E));
            const at = scope.struct("cache", B, capacity, M, S, lengths, sources, tokens, keys, values, keysValues);
            return { at, lengths };
        });
    }

    /** The logits of each row's next token. */
    nextLogits() {
        const { model, cache, sources: { S, real } } = this, { memory, c } = model, { D, V } = model.sizes;
        const B = this.rows.length;
        const past = Math.max(...memory.ints(cache.lengths, B));
        return memory.within((scope) => {
            const texts = past ? this.rows.map((row) => row.slice(-1)) : this.rows;
            const batch = readBatch(model, scope, texts, { what: "the tokens of a prompt", past, cache: cache.at });
            const room = model.room(scope, { ...batch, S }, { keys: this.capacity });
            const last = scope.take(4 * B * D), logits = scope.take(4 * B * V);
            const from = scope.struct("memory", S, 0, real); /* its keys and values are in the cache */
            const features = c.decoder_features(model.at, batch.at, from, room) >>> 0;
            texts.forEach(({ length }, row) => memory.floats(last + 4 * row * D, D)
                .set(memory.floats(features + 4 * (row * batch.T + length - 1) * D, D)));
            if (!past) memory.ints(cache.lengths, B).set(texts.map(({ length }) => length)); /* without padding */
            c.token_logits(model.at, BigInt(B), last, logits, room);
            return this.rows.map((_, row) => memory.floats(logits + 4 * row * V, V).slice());
        });
    }

    append(tokens) {
        this.rows = this.rows.map((row, i) => [...row, tokens[i]]);
    }

    /** Row i becomes the old row order[i]; a row may be repeated or dropped. */
    reorder(order) {
        const { model, cache: old } = this;
        this.rows = order.map((row) => this.rows[row]);
        this.cache = this.#makeCache(order.length);
        model.memory.within((scope) =>
            model.c.reorder_cache(model.at, old.at, scope.copy(Int32Array.from(order)), this.cache.at));
        old.scope.end();
    }

    free() {
        this.cache?.scope.end();
        this.sources.scope?.end();
    }
}

/** Yields the tokens after a GPT's prompt, or those of an encoder-decoder's target of { source } until EOS.
    `temperature`, `topK`, `topP` and `seed` are those of sampling.mjs. With `slide` a full context is cut to its later
    half, which is read again from position 0; else, without maxTokens, it is the end. A `decoder` may be given that has
    read the prompt but for its last token, and is not freed. `never` are tokens that are not chosen, by default those
    that clearformer's own vocabularies begin with. Memory is given back at the end, also by `break` or `return()`. */
export function* generate(model, inputs, options = {}) {
    const { maxTokens = Infinity, slide = false, decoder: given, never: left, ...sampling } = options;
    if (!(maxTokens >= 0)) throw Error(`maxTokens: 0 or more was expected, found ${maxTokens}; change it`);
    const sampler = new Sampler(sampling), { context } = model.sizes;
    const { row, sources, limit, never: usual } = start(model, inputs), never = left ?? usual;
    let decoder = given ?? new Decoder(model, [row], context, sources);
    try {
        for (let done = 0; done < Math.min(maxTokens, limit); done++) {
            const { length } = decoder.rows[0];
            if (length > context && slide) {
                const half = decoder.rows[0].slice(-Math.max(1, context >> 1));
                if (decoder !== given) decoder.free();
                decoder = new Decoder(model, [half], context);
            } else if (length > context && done > 0) {
                if (maxTokens === Infinity) return;
                throw Error(`the context of ${context} tokens is full after ${done} of ${maxTokens} new tokens; ` +
                    "ask for fewer, or add slide: true to go on from the last half");
            }
            const token = sampler.choose(decoder.nextLogits()[0], never);
            if (sources && token === EOS) return;
            decoder.append([token]);
            yield token;
        }
    } finally {
        if (decoder !== given) decoder.free();
    }
}

/** What a decoder begins with, and the tokens that it never chooses. */
function start(model, inputs) {
    const pairs = model.family === "transformer";
    if (!pairs && model.family !== "gpt")
        throw Error(`a GPT or an encoder-decoder was expected to generate, found a ${model.family}; use run`);
    const { tokens, source } = isList(inputs) ? { tokens: inputs } : inputs ?? {};
    const [text, ...more] = textsOf(pairs ? source : tokens, pairs ? "source" : "tokens");
    if (more.length) throw Error(`one text was expected, found ${more.length + 1}; generate from each by itself`);
    if (!pairs) return { row: text, limit: Infinity, never: NEVER.gpt };
    return { row: [BOS], sources: [[...text, EOS]], limit: targetLimit(model, text), never: NEVER.transformer };
}
