/* A beam search as a tree: what each step kept, and what came of it. */

import { EOS } from "../../../engines/c/decoding.mjs";

/** Of a source without <eos>: { steps, found }. A step has nodes { id, parent, logP, ends, open }: `parent` is the place of
    one in the step before, -1 the beginning; `open` whether it was extended. `found` are the targets, best first. */
export function beam({ model }, { source, size, lengthPenalty }) {
    const steps = [];
    let rows = [-1]; /* of the open hypotheses: their places in the step before */
    const watch = (best, open) => {
        steps.push(best.map((each) => ({ id: each.token, parent: rows[each.row], logP: each.logP, ends: each.token === EOS, open: open.includes(each) })));
        rows = open.map((each) => best.indexOf(each));
    };
    const [found] = model.translate([source], { beam: size, nBest: size, lengthPenalty, watch });
    return { steps, found };
}
