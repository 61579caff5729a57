/* Lens: what the model would say at each layer, and which parts and tokens a logit comes from. */

import { reveal } from "../cells.mjs";
import { distribution } from "../distribution.mjs";
import { Figures } from "../figure.mjs";
import { attributionFigures, contributionsFigure, lensFigure, normsFigure } from "../lens/figures.mjs";
import { QUESTION, Question } from "../question.mjs";
import { pointsOf, stacksOf } from "../stacks.mjs";
import { token } from "../visible.mjs";
import { Work } from "../work.mjs";

const LIKELIEST = 10; /* outputs at a point of the stream */
const POINTS = 64, CHUNK = 4; /* of the quadrature of attribution, as in Python, and of them in one step */

export const view = {
    name: "lens",
    title: "Lens",
    answers: "What would the model say at each layer, and what makes it say so?",
    suits: () => true,
    settings: { ...QUESTION, point: -1, attribute: true }, /* point: of the stream; -1: the last */
    render(host, state, model) {
        const [lens, logit, tokens, norms] = ["lens", "logit", "attribution", "norms"].map((name) => new Figures(name));
        const question = new Question(state, model), points = pointsOf(model.sizes), stacks = stacksOf(model.family, model.sizes);
        const work = new Work(state, "attribute", "Attribute the logit to the tokens that are read", tokens.element);
        for (const { element: wide } of [lens, tokens, norms]) wide.classList.add("wide");
        host.append(question.element, lens.element, logit.element, work.element, tokens.element, norms.element);
        return async (reading, signal) => {
            const point = Number.isInteger(state.point) && state.point >= 0 ? Math.min(state.point, model.sizes.L) : model.sizes.L;
            const asked = { ...(await question.ask(reading, signal)), point, points }, { text, at, row, output, own: targets, names } = asked;
            const ask = (task, values) => model.ask(task, { inputs: reading.inputs, ...values }, signal);
            const found = await ask("lens", { targets, top: LIKELIEST, cell: [point, at] });
            const parts = await ask("contributions", { at: row, output }), lengths = await ask("norms");
            const focused = document.activeElement.closest(".cell");
            lens.show([lensFigure(asked, found, state)]);
            if (focused) lens.element.querySelector(".cell[aria-pressed=true]").focus({ preventScroll: true });
            reveal(lens.element.querySelector(".cells"));
            const title = [`Outputs: ${points[point]}, at `, token(text.tokens[at])];
            logit.show([distribution(title, names, found.top, output), contributionsFigure(asked, parts)]);
            norms.show(stacks.map((stack, i) => normsFigure(asked, lengths[i], stacks.length > 1 ? stack.title : "", reading.texts[stack.text])));
            const steps = Array.from({ length: POINTS / CHUNK }, (_, i) => () =>
                ask("attribution", { at: row, output, steps: POINTS, points: [CHUNK * i, CHUNK * (i + 1)] }));
            work.run(JSON.stringify([reading.inputs, row, output]), steps, signal).then((shares) => { /* nobody waits for it */
                if (!signal.aborted) tokens.show(shares ? attributionFigures(asked, reading.texts, shares) : []);
            });
        };
    },
};
