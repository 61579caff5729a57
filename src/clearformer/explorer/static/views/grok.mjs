/* Grok: how a model that learned arithmetic modulo a prime came from memory to a rule, checkpoint by checkpoint. */

import { placeIn } from "../address.mjs";
import { element } from "../dom.mjs";
import { Figure, Figures } from "../figure.mjs";
import { checkpointNames } from "../run.mjs";
import { slider } from "../slider.mjs";
import { pause } from "../work.mjs";
import { circleFigures, spectrumFigure } from "./grok/circles.mjs";
import { historyFigure } from "./grok/history.mjs";
import { Operands } from "./grok/operands.mjs";

const NO_CIRCLE = "The answer of this operation is no sum of a place for a and one for b on a circle, so that there " +
    "are no frequencies to show.";

export const view = {
    name: "grok",
    title: "Grok",
    answers: "How did memory become a rule?",
    fits: ({ grokking }) => Boolean(grokking),
    settings: { checkpoint: -1 },
    render(host, state, model, { left }) {
        const { run } = model, { frequencies } = run.grokking, names = checkpointNames(run), last = names.length - 1;
        const slide = slider(state, "checkpoint", "Checkpoint"), history = new Figure("history");
        const spectrum = new Figure("spectrum"), circles = new Figures("circle"), operands = new Operands(state, run);
        const embedding = frequencies.length
            ? [spectrum.element, circles.element] : [element("p", { class: "muted" }, NO_CIRCLE)];
        slide.element.classList.add("kept");
        slide.element.hidden = !last;
        host.append(slide.element, element("div", { class: "grok" },
            element("section", { "aria-label": "Training" }, history.element),
            element("section", { "aria-label": "The model" },
                element("h3", {}, "The embedding, on circles"), ...embedding,
                element("h3", {}, "What “=” looks at"), operands.element)));
        const found = computed(model), ahead = prefetch(found, last, left);
        return async (reading, signal) => {
            const at = placeIn(last + 1, state.checkpoint, last);
            slide.show(names, at);
            const choose = (i) => state.set({ checkpoint: i === last ? -1 : i });
            history.show(historyFigure(run, at, history.picture.clientWidth, choose));
            const [trained, now] = [await found(last, signal), await found(at, signal)];
            if (frequencies.length) {
                spectrum.show(spectrumFigure(run.grokking, now.circles, trained.circles, names[at],
                    spectrum.picture.clientWidth));
                circles.show(circleFigures(run.grokking, now.circles, trained.circles));
            }
            operands.show(reading, now.operands, names[at]);
            ahead();
        };
    },
};

/** A function of a checkpoint's number: what the view shows of it, which is computed once. */
function computed(model) {
    const { numbers, frequencies } = model.run.grokking, found = new Map();
    return async (at, signal) => {
        if (!found.has(at)) {
            const checkpoint = model.at(model.run.checkpoints[at]), values = { numbers, frequencies };
            const circles = frequencies.length ? await checkpoint.ask("circles", values, signal) : undefined;
            found.set(at, { circles, operands: await checkpoint.ask("operands", values, signal) });
        }
        return found.get(at);
    };
}

/** A function that has all checkpoints computed, once, when nothing newer is asked: then the slider need not wait. */
function prefetch(found, last, left) {
    let begun = false;
    return async () => {
        if (begun) return;
        begun = true;
        try {
            for (let at = last; at >= 0; at--) {
                await pause(left);
                await found(at, left);
            }
        } catch {
            begun = false; /* another view is shown, or it fails again once it is asked for */
        }
    };
}
