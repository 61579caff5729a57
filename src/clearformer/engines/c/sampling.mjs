/* Sampling: choose the next token from the logits.

       p = softmax(logits / temperature)         temperature -> 0: always the likeliest ("greedy")
       top-k: only the k likeliest                                          Fan et al. 2018, arXiv:1805.04833
       top-p (nucleus): only the fewest with total probability >= p         Holtzman et al. 2019, arXiv:1904.09751

   As clearformer/generation/sampling.py, in float64, but with other random numbers: draw n is a hash of (seed, n). */

const SETTINGS = {
    temperature: [(x) => x >= 0 && x < Infinity, "0 (greedy) or more"],
    topK: [(x) => Number.isInteger(x) && x >= 0, "a whole number, 0 (all) or more"],
    topP: [(x) => x > 0 && x <= 1, "above 0 and at most 1"],
    seed: [(x) => Number.isInteger(x) && x >= 0, "a whole number, 0 or more"],
};

const sum = (items) => items.reduce((total, { p }) => total + p, 0);

export class Sampler {
    constructor({ temperature = 1, topK = 0, topP = 1, seed = 1 }) {
        Object.assign(this, { temperature, topK, topP, seed, draws: 0 });
        for (const [name, [fits, expected]] of Object.entries(SETTINGS))
            if (!fits(this[name])) throw Error(`${name}: ${expected} was expected, found ${this[name]}; change it`);
    }

    /** A token; none of `never`. */
    choose(logits, never) {
        const likely = this.likely(logits, never);
        let left = random(this.seed, this.draws++) * sum(likely);
        return (likely.find(({ p }) => (left -= p) < 0) ?? likely.at(-1)).token;
    }

    /** The tokens to choose among, and what their probabilities are proportional to. */
    likely(logits, never) {
        const tokens = [...logits.keys()].filter((token) => !never.includes(token));
        const most = tokens.reduce((largest, token) => Math.max(largest, logits[token]), -Infinity); /* or NaN */
        if (!Number.isFinite(most)) throw Error(`finite logits were expected, found ${most}; train the model anew`);
        if (this.temperature === 0) return [{ token: tokens.find((token) => logits[token] === most), p: 1 }];
        const ranked = tokens.map((token) => ({ token, p: Math.exp((logits[token] - most) / this.temperature) }))
            .sort((a, b) => b.p - a.p).slice(0, this.topK || undefined);
        const enough = this.topP * sum(ranked);
        let before = 0;
        return ranked.filter(({ p }) => (before += p) - p < enough); /* at least one */
    }
}

/** From 0 to below 1; the hash is dropout.c's. */
function random(seed, draw) {
    return mixed(mixed(seed) + draw) / 2 ** 32;
}

function mixed(x) {
    x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
    x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
    return (x ^ (x >>> 16)) >>> 0;
}
