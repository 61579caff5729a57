/* Lens: what the model would say at each layer, and which parts and tokens a logit comes from. */

import { isPlace } from "../address.mjs";
import { reveal } from "../cells.mjs";
import { distribution } from "../distribution.mjs";
import { Figures } from "../figure.mjs";
import { attributionFigures, contributionsFigure, lensFigure, normsFigure } from "../lens/figures.mjs";
import { QUESTION, Question } from "../question.mjs";
import { pointsOf, stacksOf } from "../stacks.mjs";
import { token } from "../visible.mjs";
import { Work } from "../work.mjs";

const POINTS = 64, CHUNK = 4; /* of the quadrature of attribution, as in Python, and of them in one step */

export const view = {
    name: "lens",
    title: "Lens",
    answers: "What would the model say at each layer, and what makes it say so?",
    settings: { ...QUESTION, point: -1, attribute: true }, /* point: of the stream; -1: the last */
    render(host, state, model) {
        const lens = new Figures("lens"), logit = new Figures("logit");
        const tokens = new Figures("attribution", "The tokens; arrow keys scroll");
        const norms = new Figures("norms", "The map; arrow keys scroll");
        const question = new Question(state, model), { family, sizes } = model, points = pointsOf(sizes);
        const stacks = stacksOf(family, sizes), stackTitle = ({ title }) => (stacks.length > 1 ? title : "");
        const work = new Work(state, "attribute", "Attribute the logit to the tokens that are read", tokens.element);
        for (const { element: wide } of [lens, tokens, norms]) wide.classList.add("wide");
        host.append(question.element, lens.element, logit.element, work.element, tokens.element, norms.element);
        return async (reading, signal) => {
            const point = isPlace(state.point, points.length) ? state.point : sizes.L;
            const asked = { ...(await question.ask(reading, signal)), point, points, sizes }, { inputs, texts } = reading;
            const { text, at, row, output, own: targets, names } = asked;
            const ask = (task, values) => model.ask(task, { inputs, ...values }, signal);
            const [found, lengths, parts] = await Promise.all([
                ask("lens", { targets, cell: [point, at] }), ask("norms"), ask("contributions", { at: row, output }),
            ]);
            const focused = document.activeElement.closest(".cell");
            lens.show([lensFigure(asked, found, state)]);
            if (focused) lens.element.querySelector(".cell[aria-pressed=true]").focus({ preventScroll: true });
            reveal(lens.element.querySelector(".cells"));
            const title = [`Outputs: ${points[point]}, at `, token(text.tokens[at])];
            logit.show([distribution(title, names, found.top, output), contributionsFigure(asked, parts)]);
            norms.show(stacks.map((stack, i) => normsFigure(asked, lengths[i], stackTitle(stack), texts[stack.text])));
            const steps = Array.from({ length: POINTS / CHUNK }, (_, i) => () =>
                ask("attribution", { at: row, output, steps: POINTS, points: [CHUNK * i, CHUNK * (i + 1)] }));
            const shown = work.run(JSON.stringify([inputs, row, output]), steps, signal);
            shown.then((shares) => { /* nobody waits for it, so that all else can be used meanwhile */
                if (!signal.aborted) tokens.show(shares ? attributionFigures(asked, texts, shares) : []);
            });
        };
    },
};
