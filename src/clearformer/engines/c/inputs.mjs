/* Texts as C reads them: checked, padded with zeros to the longest, and which tokens are no padding. */

export const isList = (x) => Array.isArray(x) || (ArrayBuffer.isView(x) && !(x instanceof DataView));

/** An array of texts, from one or several. */
export function textsOf(given, what) {
    const texts = isList(given) && isList(given[0]) ? [...given] : [given];
    if (!texts.every((text) => isList(text) && text.length && !isList(text[0])))
        throw Error(`${what}: an array of numbers or of such arrays was expected, found ${kindOf(given)}; give one`);
    return texts.map((text) => [...text]);
}

function kindOf(x) {
    if (!isList(x)) return x === null ? "null" : typeof x;
    return x.length ? "something else among them" : "an empty array";
}

/** Texts [B, T] of tokens below `limit`. */
export function padded(texts, T, limit, advice) {
    const out = new Int32Array(texts.length * T);
    texts.forEach((text, row) => text.forEach((x, i) => {
        if (!Number.isInteger(x) || x < 0 || x >= limit)
            throw Error(`whole numbers from 0 to ${limit - 1} were expected, found ${x}; ${advice}`);
        out[row * T + i] = x;
    }));
    return out;
}

/** One or several texts as a struct batch. `cache` holds `past` tokens of the longest already. */
export function readBatch(model, scope, given, { what = "tokens", segments, past = 0, cache = 0 } = {}) {
    const texts = textsOf(given, what), B = texts.length, T = Math.max(...texts.map((text) => text.length));
    const { V, context, segments: kinds } = model.sizes;
    if (past + T > context)
        throw Error(`at most ${context} tokens were expected, the model's context, found ${past + T}; shorten it`);
    const tokens = scope.copy(padded(texts, T, V, "use the run's own tokenizer"));
    const real = Uint8Array.from({ length: B * T }, (_, i) => i % T < texts[Math.floor(i / T)].length);
    const realAt = model.family === "gpt" || cache ? 0 : scope.copy(real); /* there, padding follows all that is read */
    const segmentsAt = kinds ? scope.copy(readSegments(segments, texts, T, kinds)) : 0;
    const lengths = texts.map((text) => text.length);
    return { B, T, lengths, real: realAt, at: scope.struct("batch", B, T, tokens, segmentsAt, realAt, cache) };
}

/** Which text of an input each token belongs to; by default there is one. */
function readSegments(given, texts, T, limit) {
    const segments = given === undefined ? texts.map((text) => text.map(() => 0)) : textsOf(given, "segments");
    if (segments.length !== texts.length || segments.some((row, i) => row.length !== texts[i].length))
        throw Error("a segment for each token was expected, found more or fewer; give both alike");
    return padded(segments, T, limit, "number the texts of an input from 0");
}

/** A model's inputs, and their sizes; of an encoder-decoder `source` is another batch. */
export function readInputs(model, scope, inputs) {
    const { tokens, segments, source, target } = isList(inputs) ? { tokens: inputs } : inputs ?? {};
    if (model.family !== "transformer") return { ...readBatch(model, scope, tokens, { segments }), S: 0 };
    const batch = readBatch(model, scope, target, { what: "target" });
    const from = readBatch(model, scope, source, { what: "source" });
    if (from.B !== batch.B)
        throw Error(`a source for each target was expected, found ${from.B} and ${batch.B}; give as many`);
    return { ...batch, S: from.T, source: from };
}
