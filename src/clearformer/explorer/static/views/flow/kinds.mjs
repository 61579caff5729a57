/* What each kind of box is: { title, equation, code, words }, functions of the box and of a context.

   `title` may be a text. `code` names functions of the package's source, each as [file, name, part]: `part` is in the
   line that does it. `words` are a sentence or two for the walk, texts and elements, with the numbers of the text.

   The context has the settings of the model (settingsOf); what was `found` of all boxes (tasks/flow.mjs); the chosen
   `head`, and the places `at` of the chosen token in each text; functions from the number of a text to its `tokens`,
   from that of an output to its name (`output`), from a box to the token that is `chosen`, and to its `shape`. */

import { NORMS, POSITIONS } from "../../stacks.mjs";
import { token } from "../../visible.mjs";
import { ATTENTION } from "./kinds/attention.mjs";
import { EMBEDDING } from "./kinds/embedding.mjs";
import { FEED_FORWARD } from "./kinds/feedforward.mjs";
import { OUTPUT } from "./kinds/output.mjs";
import { STREAM } from "./kinds/stream.mjs";
import { brief, length } from "../../numbers.mjs";

export const KINDS = { ...EMBEDDING, ...STREAM, ...ATTENTION, ...FEED_FORWARD, ...OUTPUT };

/** In the order of transformer.h. */
const ACTIVATIONS = ["relu", "gelu", "squared_relu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh"];

/** The sizes of a model, with the names of its norm, their order, its activation and its positions, and the cap of its
    logits. */
export function settingsOf({ sizes, family, run }) {
    const activation = ACTIVATIONS[sizes.activation], gated = activation.includes("glu");
    const names = { family, normKind: NORMS[sizes.normKind], activation, positions: POSITIONS[sizes.positions] };
    const order = names.normKind === "none" ? "none" : sizes.postNorm ? "post" : "pre";
    return { ...sizes, ...names, order, gated, cap: run.config.model.logit_cap ?? 0 };
}

export function titleOf(box, c) {
    const { title } = KINDS[box.kind];
    return typeof title === "string" ? title : title(box, c);
}

/** For the words of a box, `it` is the chosen token, `here` what was found, and `norm` that of the token's vector. */
export function wordsOf(box, c) {
    const here = c.found[box.id];
    return KINDS[box.kind].words(box, { ...c, it: token(c.chosen(box)), here, norm: brief(length(here.row)) });
}
