/* A translation by beam search, as a tree that grows step by step. */

import { placeIn } from "../../address.mjs";
import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { tree } from "../../tree.mjs";
import { printable } from "../../visible.mjs";

const NOTE = "Numbers: the probability so far. Filled: ends. Dashed: dropped. Thick: leads to the best.";

export function beamSearch(state, model) {
    const figure = new Figure("beam"), list = element("ol", { class: "found" });
    const text = (ids) => printable(ids.map((id) => model.tokens[id]).join(""));
    figure.focusable("The tree; arrow keys scroll");
    return {
        element: element("div", {}, element("h3", {}, "Translations, best first"), list, figure.element),
        async update({ inputs: { source } }, signal) {
            const values = { source: source.slice(0, -1), size: state.beam, lengthPenalty: state.lengthPenalty };
            const { steps, found } = await model.ask("beam", values, signal), last = steps.length;
            const at = placeIn(last + 1, state.steps, last);
            list.replaceChildren(...found.map(({ tokens, score, logProbability }) => {
                const numbers = ` score ${score.toFixed(3)}, log probability ${logProbability.toFixed(3)}`;
                return element("li", {}, element("bdi", {}, text(tokens)), element("small", {}, numbers));
            }));
            const best = [...found[0].tokens, model.special.eos], names = { open: "goes on" };
            const nodes = nodesOf(steps, best).slice(0, at);
            const rows = nodes.flatMap((step, i) => step.map(({ id, path, logP, kind }) =>
                [i + 1, model.tokens[id], text(path.slice(0, -1)), logP, names[kind] ?? kind]));
            const drawn = nodes.map((step) => step.map((node) =>
                ({ ...node, name: model.tokens[node.id], p: Math.exp(node.logP) })));
            figure.show({
                title: "The beam", note: NOTE,
                picture: tree(drawn, `Tree of ${at} steps; the best translation is ${text(found[0].tokens)}`),
                rows: [["step", "token", "after", "log probability", "state"], ...rows],
            });
            return { at, last, words: `step ${at} of ${last}` };
        },
    };
}

/** Each node with the tokens that lead to it, its kind, and whether it leads to the best translation. */
function nodesOf(steps, best) {
    const made = [];
    steps.forEach((step, i) => made.push(step.map((node, j) => {
        const path = [...(i ? made[i - 1][node.parent].path : []), node.id];
        const rest = steps[i + 1]?.some(({ parent }) => parent === j) ? "open" : "dropped";
        return { ...node, path, kind: node.ends ? "ends" : rest, best: path.every((id, k) => id === best[k]) };
    })));
    return made;
}
