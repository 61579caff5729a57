/* The next token of a text that a GPT, or of a target that an encoder-decoder writes, step by step. */

import { Decoder, EOS, NEVER, targetLimit } from "../../../engines/c/decoding.mjs";
import { Sampler } from "../../../engines/c/sampling.mjs";
import { likeliest, softmax } from "./outputs.mjs";

/** After `tokens`, of which the first `start` were given; of an encoder-decoder behind <bos>, and of `source`. `step`
    counts the tokens that were drawn before: with the settings of sampling it decides which comes now. Returns
    { top, drawn, p, ended, text }: `top` has { id, p, q }, the model's probability and that with which the token is drawn,
    `text` is what was written before. */
export function next(session, { tokens, start, source, step, sampling, top = 10 }) {
    const { model } = session, logits = logitsAfter(session, within(tokens, start, model.sizes.context), source);
    const sampler = Object.assign(new Sampler(sampling), { draws: step }), never = NEVER[model.family];
    const likely = sampler.likely(logits, never), total = likely.reduce((sum, { p }) => sum + p, 0);
    const q = new Map(likely.map(({ token, p }) => [token, p / total])), p = softmax(logits), drawn = sampler.choose(logits, never);
    const best = likeliest(p, top), shown = best.some(({ id }) => id === drawn) ? best : [...best.slice(0, -1), { id: drawn, p: p[drawn] }];
    return {
        top: shown.map((each) => ({ ...each, q: q.get(each.id) ?? 0 })),
        drawn,
        p: p[drawn],
        ended: drawn === EOS || (source !== undefined && step + 1 >= targetLimit(model, source.slice(0, -1))),
        text: session.vocabulary.tokenizer.decode(tokens.slice(start)),
    };
}

/** Those that fit into the context: a full one is cut to its later half, as `generate` does with `slide`. */
function within(tokens, start, context) {
    let first = 0;
    for (let length = start; length <= tokens.length; length++) if (length - first > context) first = length - Math.max(1, context >> 1);
    return tokens.slice(first);
}

/** Through the cache of the step before, if one token more is all that is new. */
function logitsAfter(session, tokens, source) {
    const key = JSON.stringify(source ?? null), { model, decoding: old } = session;
    const before = (count) => old?.key === key && old.decoder.rows[0].length === tokens.length - count && old.decoder.rows[0].every((id, i) => id === tokens[i]);
    if (before(0)) return old.logits;
    session.decoding = undefined; /* should this fail */
    if (before(1)) old.decoder.append(tokens.slice(-1));
    else old?.decoder.free();
    const decoder = before(0) ? old.decoder : new Decoder(model, [tokens], model.sizes.context, source && [source]);
    const [logits] = decoder.nextLogits();
    session.decoding = { key, decoder, logits };
    return logits;
}
