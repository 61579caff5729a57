/* Beam search: extend the few likeliest partial targets, and choose among those that end.

       score(Y) = log P(Y | X) / lp(Y)       lp(Y) = ((5 + |Y|) / 6)^a       Wu et al. 2016, arXiv:1609.08144, section 7

   As clearformer/generation/beam.py, which says more; a beam of one is greedy. */

import { BOS, Decoder, EOS, NEVER, targetLimit } from "./decoding.mjs";
import { textsOf } from "./inputs.mjs";

const MOST = 1000; /* hypotheses of a source */

/** Of each source text the `nBest` targets { tokens, logProbability, score }, best first; fewer if no more exist. After
    a step `watch` gets the extensions { row, token, logP, source } that it kept, row by row of the open hypotheses
    before it, and those of them that stay open. */
export function translate(model, sources, { beam = 1, lengthPenalty = 0.6, nBest = 1, watch = () => {} } = {}) {
    if (model.family !== "transformer")
        throw Error(`an encoder-decoder was expected to translate, found a ${model.family}; use run`);
    if (!(Number.isInteger(beam) && Number.isInteger(nBest) && 1 <= nBest && nBest <= beam && beam <= MOST))
        throw Error(`1 <= nBest <= beam <= ${MOST} was expected, found ${nBest} and ${beam}; change them`);
    if (!(lengthPenalty >= 0 && lengthPenalty < Infinity))
        throw Error(`a length penalty of 0 (none) or more was expected, found ${lengthPenalty}; change it`);
    const search = new Search(model, textsOf(sources, "sources"), { beam, lengthPenalty, nBest, watch });
    try {
        while (search.open.length) search.step();
        return search.finished.map((found) => found.slice(0, nBest));
    } finally {
        search.decoder.free();
    }
}

/** The open hypotheses { source, logP } are the decoder's rows, grouped by source and the likeliest first. */
class Search {
    constructor(model, sources, settings) {
        const limits = sources.map((source) => targetLimit(model, source));
        Object.assign(this, settings, { limits, length: 0, finished: sources.map(() => []) });
        this.open = sources.map((_, source) => ({ source, logP: 0 }));
        const ended = sources.map((source) => [...source, EOS]);
        this.decoder = new Decoder(model, sources.map(() => [BOS]), Math.max(...limits), ended);
    }

    /** Extend every open hypothesis, collect those that end, and drop sources that are done. */
    step() {
        const best = this.#best(this.decoder.nextLogits().flatMap((logits, row) => candidates(logits, row, this)));
        this.length += 1;
        const ends = ({ token, source }) => token === EOS || this.length === this.limits[source];
        for (const { row, token, logP, source } of best.filter(ends)) {
            const tokens = [...this.decoder.rows[row].slice(1), ...(token === EOS ? [] : [token])];
            this.finished[source].push({ tokens, logProbability: logP, score: logP / this.#penalty(this.length) });
            this.finished[source].sort((a, b) => b.score - a.score);
        }
        const goesOn = best.filter((found) => !ends(found));
        const wins = new Set(goesOn.filter((found) => this.#canWin(found)).map(({ source }) => source));
        this.open = goesOn.filter(({ source }) => wins.has(source));
        this.watch(best, this.open);
        if (!this.open.length) return;
        this.decoder.reorder(this.open.map(({ row }) => row));
        this.decoder.append(this.open.map(({ token }) => token));
    }

    /** The likeliest candidates of each source, as many as slots of its beam are free; ties go to the first. */
    #best(found) {
        const taken = this.finished.map((done) => done.length);
        return found.sort((a, b) => a.source - b.source || b.logP - a.logP)
            .filter(({ source }) => taken[source]++ < this.beam);
    }

    /** More tokens only lower log P, and lp is largest at the limit. */
    #canWin({ source, logP }) {
        const worst = this.finished[source][this.nBest - 1]?.score ?? -Infinity;
        return logP / this.#penalty(this.limits[source]) > worst;
    }

    #penalty(length) {
        return ((5 + length) / 6) ** this.lengthPenalty;
    }
}

/** The likeliest permitted tokens of a row, as many as the beam, and ties, in the order of tokens. */
function candidates(logits, row, { beam, open }) {
    const most = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!Number.isFinite(most)) throw Error(`finite logits were expected, found ${most}; train the model anew`);
    const total = Math.log(logits.reduce((sum, z) => sum + Math.exp(z - most), 0));
    const allowed = [...logits.keys()].filter((token) => !NEVER.transformer.includes(token));
    const sorted = Float32Array.from(allowed, (token) => logits[token]).sort(), { source, logP } = open[row];
    const least = sorted[Math.max(sorted.length - beam, 0)];
    return allowed.filter((token) => logits[token] >= least)
        .map((token) => ({ row, token, source, logP: logP + logits[token] - most - total }));
}
