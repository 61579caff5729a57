/* Attention is not explanation: heads whose weights and whose effect disagree.
                                                                            Jain and Wallace 2019, arXiv:1902.10186 */

import { element } from "../dom.mjs";
import { signed } from "../signed.mjs";
import { percent, token } from "../visible.mjs";

const SHARP = 0.7, BLURRED = 0.4; /* of the largest attention weight, in the mean over queries */
const LITTLE = 0.1, MUCH = 0.5; /* of the largest change */
const LEAST = 0.01; /* nats; where no head changes more there is nothing to explain */

/** Of heads { sharpness, change }: the sharpest of those that change little, `idle`, and the most blurred of those that
    change much, `busy`, if there are any. */
export function examples(heads) {
    const most = Math.max(...heads.map(({ change }) => Math.abs(change)));
    const share = ({ change }) => Math.abs(change) / most;
    if (!(most >= LEAST)) return {};
    const sorted = [...heads].sort((a, b) => b.sharpness - a.sharpness);
    return {
        idle: sorted.find((head) => head.sharpness >= SHARP && share(head) <= LITTLE),
        busy: sorted.findLast((head) => head.sharpness <= BLURRED && share(head) >= MUCH),
    };
}

/** Sentences about the examples. `name` is that of the output. */
export function explained({ idle, busy }, name) {
    const example = ({ title, sharpness, change }, look) => element("p", { class: "example" },
        `${title[0].toUpperCase()}${title.slice(1)} looks ${look}: its largest weight is ${percent(sharpness)} in the `,
        "mean over queries. Yet cutting it changes ln P of ", token(name),
        ` by ${signed(change, Math.abs(change) < 0.1 ? 4 : 2)}.`);
    return [
        element("p", {}, "A head’s weights say which tokens it reads. They do not say what it takes from them, nor ",
            "whether the output needs it. Cutting the head shows that."),
        idle && example(idle, "sharp"),
        busy && example(busy, "blurred"),
        !idle && !busy && element("p", { class: "example" }, "In this text there is no example: no sharp head changes ",
            "little, and no blurred one changes much. Try another text or output."),
        element("p", { class: "muted" }, "Cutting has limits, too: other heads can do the same work, and zeros are ",
            "values that later layers never met in training."),
    ].filter(Boolean);
}
