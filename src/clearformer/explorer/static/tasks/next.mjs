/* The next token of a text that a GPT, or of a target that an encoder-decoder writes, step by step. */

import { Decoder, EOS, NEVER, targetLimit } from "../../../engines/c/decoding.mjs";
import { Sampler } from "../../../engines/c/sampling.mjs";
import { logitsOf, pass } from "./pass.mjs";
import { likeliest, rowOf, softmax } from "./probability.mjs";

/** After `tokens`, of which the first `start` were given; of an encoder-decoder they begin with <bos>, and `source`
    ends with <eos>. `step` counts the tokens that were drawn before: with `sampling`, the settings of sampling.mjs, it
    decides which comes now. Returns { top, drawn, p, ended, text }: `top` has { id, p, q }, the model's probability and
    that of being drawn; `drawn` is the token that is, p its probability; `text` is what was written before. */
export function next(session, { tokens, start, source, step, sampling, top = 10 }) {
    const { model, vocabulary } = session, { context } = model.sizes;
    const logits = logitsAfter(session, within(tokens, start, context), source);
    const sampler = Object.assign(new Sampler(sampling), { draws: step });
    const never = model.family === "gpt" ? vocabulary.never : NEVER.transformer;
    const likely = sampler.likely(logits, never), total = likely.reduce((sum, { p }) => sum + p, 0);
    const p = softmax(logits), q = new Map(likely.map((each) => [each.token, each.p / total]));
    const drawn = sampler.choose(logits, never), best = likeliest(p, top).map(({ id }) => id);
    const shown = best.includes(drawn) ? best : [...best.slice(0, -1), drawn];
    return {
        top: shown.map((id) => ({ id, p: p[id], q: q.get(id) ?? 0 })),
        drawn,
        p: p[drawn],
        ended: source !== undefined && (drawn === EOS || step + 1 >= targetLimit(model, source.slice(0, -1))),
        text: [...vocabulary.tokenizer.stream(tokens.slice(start), tokens.slice(0, start))].join(""),
    };
}

/** Those that fit into the context: a full one is cut to its later half, as `generate` does with `slide`. */
function within(tokens, start, context) {
    let first = 0;
    for (let length = start; length <= tokens.length; length++)
        if (length - first > context) first = length - Math.max(1, context >> 1);
    return tokens.slice(first);
}

/** Through the cache of the step before, if one more token is all that is new. */
function logitsAfter(session, tokens, source) {
    if (!source) return rowOf(logitsOf(pass(session, tokens)), tokens.length - 1);
    const { model, decoding: old } = session, key = JSON.stringify(source), row = old?.decoder.rows[0];
    const begins = old?.key === key && row.every((id, i) => id === tokens[i]), more = tokens.length - row?.length;
    if (begins && more === 0) return old.logits;
    session.decoding = undefined; /* should this fail */
    const reuse = begins && more === 1;
    if (!reuse) old?.decoder.free();
    const decoder = reuse ? old.decoder : new Decoder(model, [tokens], model.sizes.context, [source]);
    if (reuse) decoder.append(tokens.slice(-1));
    const [logits] = decoder.nextLogits();
    session.decoding = { key, decoder, logits };
    return logits;
}
