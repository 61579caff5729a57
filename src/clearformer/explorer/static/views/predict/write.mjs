/* The text that a GPT, or the target that an encoder-decoder writes, one token at a time. */

import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";
import { printable, token, visible } from "../../visible.mjs";

const MOST = 500; /* steps */

export function write(state, model) {
    const rows = element("div", { class: "rows" }), figure = new Figure("next-token");
    let path = { key: "", answers: [] }; /* of each step, so that a step back asks nothing */
    return {
        element: element("div", {}, rows, figure.element),
        async update(reading, signal) {
            const { temperature, topK, topP, seed } = state, sampling = { temperature, topK, topP, seed }, { inputs, texts } = reading;
            const pair = model.family === "transformer", given = pair ? [inputs.target[0]] : inputs, source = pair ? inputs.source : undefined;
            const key = JSON.stringify([given, source, sampling]);
            if (path.key !== key) path = { key, answers: [] };
            const { answers } = path, wanted = Math.min(Math.max(state.steps, 0), MOST), drawn = () => answers.map((answer) => answer.drawn);
            while (answers.length <= wanted && !answers.at(-1)?.ended) {
                const values = { tokens: [...given, ...drawn()], start: given.length, source, step: answers.length, sampling };
                const answer = await model.ask("next", values, signal);
                answers[values.step] = answer;
            }
            const at = Math.min(wanted, answers.length - 1), answer = answers[at];
            const written = answers.slice(0, at).map(({ drawn: id, p }) => ({ id, text: model.tokens[id], p }));
            const before = pair ? [] : given.map((id, i) => ({ id, text: texts[0].tokens[i] }));
            rows.replaceChildren(
                element("p", { class: "prose" }, !pair && element("bdi", { class: "muted" }, printable(state.text)), element("bdi", {}, printable(answer.text))),
                tokenRow("Tokens", [...before, ...written]),
                element("p", { class: "muted" }, "A line below a token is the probability that the model gave it."));
            const { title, picture, rows: numbers } = distribution(["Next: ", token(model.tokens[answer.drawn])], model.tokens, answer.top, answer.drawn);
            figure.show(title, picture, numbers, "Bars: the model’s probability. Frames: the probability of being drawn.");
            return { at, last: answer.ended ? at : MOST, words: `${at} written; next ${visible(model.tokens[answer.drawn])}${answer.ended ? ", the end" : ""}` };
        },
    };
}
