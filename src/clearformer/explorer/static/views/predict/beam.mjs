/* A translation by beam search, as a tree that grows step by step. */

import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { tree } from "../../tree.mjs";
import { printable } from "../../visible.mjs";

export function beamSearch(state, model) {
    const figure = new Figure("beam"), best = element("ol", { class: "found" }), text = (tokens) => printable(tokens.map((id) => model.tokens[id]).join(""));
    figure.focusable("The tree; arrow keys scroll");
    return {
        element: element("div", {}, element("h3", {}, "Translations, best first"), best, figure.element),
        async update({ inputs: { source } }, signal) {
            const values = { source: source.slice(0, -1), size: state.beam, lengthPenalty: state.lengthPenalty };
            const { steps, found } = await model.ask("beam", values, signal), last = steps.length, at = state.steps < 0 ? last : Math.min(state.steps, last);
            best.replaceChildren(...found.map(({ tokens, score, logProbability }) => element("li", {}, element("bdi", {}, text(tokens)),
                element("small", {}, ` score ${score.toFixed(3)}, log probability ${logProbability.toFixed(3)}`))));
            const shown = steps.slice(0, at), paths = pathsOf(shown), goal = [...found[0].tokens, 2];
            const nodes = shown.map((step, i) => step.map((node, j) => ({
                ...node, name: model.tokens[node.id], p: Math.exp(node.logP), best: paths[i][j].every((id, k) => id === goal[k]),
            })));
            figure.show(["The beam"],
                tree(nodes, `Tree of ${at} steps; the best translation is ${text(found[0].tokens)}`),
                [["step", "token", "after", "log probability", "state"], ...shown.flatMap((step, i) => step.map((node, j) =>
                    [i + 1, model.tokens[node.id], text(paths[i][j].slice(0, -1)), node.logP, node.ends ? "ends" : node.open ? "goes on" : "dropped"]))],
                "Numbers: the probability so far. Filled: ends. Dashed: dropped. Thick: leads to the best.");
            return { at, last, words: `step ${at} of ${last}` };
        },
    };
}

/** The tokens that lead to each node, itself included. */
function pathsOf(steps) {
    const paths = [];
    steps.forEach((step, i) => paths.push(step.map(({ id, parent }) => [...(i ? paths[i - 1][parent] : []), id])));
    return paths;
}
