/* A beam search as a tree: what each step kept, and what came of it. */

import { EOS, targetLimit } from "../../../engines/c/decoding.mjs";

/** Of a source without <eos>: { steps, found }. A step has nodes { id, parent, logP, ends }: `parent` is the place of
    one in the step before, -1 the beginning. `found` are the targets, best first. */
export function beam({ model }, { source, size, lengthPenalty }) {
    const steps = [], limit = targetLimit(model, source);
    let rows = [-1]; /* of the open hypotheses: their places in the step before */
    const watch = (best, open) => {
        const last = steps.length + 1 === limit;
        steps.push(best.map(({ row, token, logP }) =>
            ({ id: token, parent: rows[row], logP, ends: last || token === EOS })));
        rows = open.map((each) => best.indexOf(each));
    };
    const [found] = model.translate([source], { beam: size, nBest: size, lengthPenalty, watch });
    return { steps, found };
}
