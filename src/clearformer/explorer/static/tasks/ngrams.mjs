/* The buckets of n-gram embeddings, as embedding.c has them, and numbers of tokens that share none. */

const BITS = 40n, LIMIT = 1n << BITS, PRIME = 1000003n;

/** The bucket of token t and the n - 1 before it; before the start there are zeros. */
export function bucketOf(ids, t, n, buckets) {
    let mixed = 1n;
    for (let i = 0; i < n; i++) mixed = ((mixed ^ BigInt((ids[t - i] ?? 0) + 1)) * PRIME) % LIMIT;
    return Number((mixed ^ (mixed >> (BITS / 2n))) % BigInt(buckets));
}

/** Numbers for the tokens of texts, all different and from 1; with `buckets`, also their n-grams' buckets are. */
export function renumbered(texts, buckets) {
    const taken = [new Set(), new Set()];
    let next = 1;
    return texts.map((text) => text.reduce((ids, _, t) => {
        const places = (id) => (buckets ? [2, 3].map((n) => bucketOf([...ids, id], t, n, buckets)) : []);
        while (places(next).some((bucket, k) => taken[k].has(bucket))) next++;
        places(next).forEach((bucket, k) => taken[k].add(bucket));
        return [...ids, next++];
    }, []));
}
