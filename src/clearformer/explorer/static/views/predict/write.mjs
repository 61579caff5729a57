/* The text that a GPT, or the target that an encoder-decoder writes, one token at a time. */

import { placeIn } from "../../address.mjs";
import { distribution } from "../../distribution.mjs";
import { element } from "../../dom.mjs";
import { Figure } from "../../figure.mjs";
import { tokenRow } from "../../tokens.mjs";
import { printable, token, visible } from "../../visible.mjs";

const MOST = 500; /* steps */
const HINT = "A line below a token is the probability that the model gave it.";
const NOTE = "Bars: the model’s probability. Frames: the probability of being drawn.";

export function write(state, model) {
    const rows = element("div", { class: "rows" }), figure = new Figure("next-token");
    const pair = model.family === "transformer";
    let path = {}; /* { key, answers }: those of all steps so far, so that a step back asks nothing */

    /** Ask for what is missing up to a step, or to the end. */
    async function follow({ inputs }, wanted, signal) {
        const { temperature, topK, topP, seed } = state, given = pair ? inputs.target.slice(0, 1) : inputs;
        const source = pair ? inputs.source : undefined, sampling = { temperature, topK, topP, seed };
        const common = { source, start: given.length, sampling };
        const key = JSON.stringify([given, common]);
        if (path.key !== key) path = { key, answers: [] };
        const { answers } = path;
        while (answers.length <= wanted && !answers.at(-1)?.ended) {
            const tokens = [...given, ...answers.map(({ drawn }) => drawn)], step = answers.length;
            answers[step] = await model.ask("next", { ...common, tokens, step }, signal);
        }
        return answers;
    }

    return {
        element: element("div", {}, rows, figure.element),
        async update(reading, signal) {
            const wanted = placeIn(MOST + 1, state.steps), answers = await follow(reading, wanted, signal);
            const at = Math.min(wanted, answers.length - 1), { drawn, top, text, ended } = answers[at];
            const [given] = reading.texts, next = model.tokens[drawn];
            const written = answers.slice(0, at).map(({ drawn: id, p }) => ({ id, text: model.tokens[id], p }));
            const before = pair ? [] : given.ids.map((id, i) => ({ id, text: given.tokens[i] }));
            const prompt = !pair && element("bdi", { class: "muted" }, printable(state.text));
            rows.replaceChildren(element("p", { class: "prose" }, prompt, element("bdi", {}, printable(text))),
                tokenRow("Tokens", [...before, ...written]), element("p", { class: "muted" }, HINT));
            figure.show({ ...distribution(["Next: ", token(next)], model.tokens, top, drawn), note: NOTE });
            const words = `${at} written; next ${visible(next)}${ended ? ", the end" : ""}`;
            return { at, last: ended ? at : MOST, words };
        },
    };
}
