/* One pass over a text, for all tasks that ask about the same inputs.

   Nothing that a GPT computes of a token depends on later ones. So when the end of its text changes, the tokens before
   are not computed again: their keys and values are in the cache, and what was kept of them stays. */

import { Decoder } from "../../../engines/c/decoding.mjs";
import { readBatch } from "../../../engines/c/inputs.mjs";
import { sizeOf } from "../../../engines/c/memory.mjs";
import { keepers } from "../../../engines/c/touch.mjs";

/** What `keep` of transformer.mjs returns of these places, and of those that were asked for before. */
export function pass(session, inputs, places = []) {
    const key = JSON.stringify(inputs), last = session.pass, has = (name) => name in (last?.kept ?? {});
    if (last?.key === key && places.every(has)) return last.kept;
    const names = [...new Set([...(last?.names ?? []), ...places])];
    session.pass = undefined; /* should this fail */
    const work = session.model.family === "gpt" ? readOn : ({ model }) => model.keep(names, inputs);
    const kept = work(session, inputs, names, last);
    session.pass = { key, inputs, names, kept };
    return kept;
}

/** A GPT's text, of which the cache has what it begins with. */
function readOn(session, inputs, names, last) {
    const { model } = session, { memory, c } = model, { context, V } = model.sizes, T = inputs.length;
    const { cache } = (session.decoder ??= new Decoder(model, [inputs], context));
    const begins = last && names.length === last.names.length ? common(last.inputs, inputs) : 0;
    const past = Math.min(begins, T - 1);
    memory.ints(cache.lengths, 1)[0] = past;
    return memory.within((scope) => {
        const batch = readBatch(model, scope, inputs.slice(past), { past, cache: cache.at });
        const touches = keepers(model, scope, names, { B: 1, T, S: 0 });
        const more = { keys: context, touches: touches.map(({ touch }) => touch) };
        const room = model.room(scope, { ...batch, S: 0 }, more);
        const features = c.decoder_features(model.at, batch.at, scope.struct("memory", 0, 0, 0), room);
        const logits = scope.take(4 * batch.T * V);
        c.token_logits(model.at, BigInt(batch.T), features, logits, room);
        const found = Object.fromEntries(touches.map(({ name, shape, at }) => [name, model.array(shape, at)]));
        found.output_projection = { shape: [1, T, V], data: new Float32Array(T * V) };
        found.output_projection.data.set(memory.floats(logits, batch.T * V), past * V);
        if (past) for (const name of Object.keys(found)) putRows(last.kept[name], found[name], past);
        return found;
    });
}

/** The decoder of a GPT's session, which has read a text but for its last token; it stays the session's. */
export function decoderOf(session, inputs) {
    pass(session, inputs);
    const { decoder, model: { memory } } = session;
    memory.ints(decoder.cache.lengths, 1)[0] = inputs.length - 1;
    return Object.assign(decoder, { rows: [inputs] });
}

/** The logits in what `pass` returns, which have the last module's name: of tokens, or of a classifier's classes. */
export const logitsOf = ({ output_projection, class_projection }) => output_projection ?? class_projection;

function common(before, now) {
    const differs = now.findIndex((id, i) => id !== before[i]);
    return differs < 0 ? now.length : differs;
}

/** The first rows of each head, of which a row of attention weights may be longer now. */
function putRows(from, to, rows) {
    const [[oldT, oldWidth], [T, width]] = [from, to].map(({ shape }) => shape.slice(-2));
    const heads = sizeOf(to.shape) / (T * width), some = Math.min(oldWidth, width);
    for (let h = 0; h < heads; h++)
        for (let t = 0; t < rows; t++) {
            const start = (h * oldT + t) * oldWidth;
            to.data.set(from.data.subarray(start, start + some), (h * T + t) * width);
        }
}
