/* Learn: what the model said, and what a head looked at, at the checkpoints of its training; two runs side by side. */

import { list } from "../controls.mjs";
import { element } from "../dom.mjs";
import { Figure } from "../figure.mjs";
import { Model } from "../model.mjs";
import { folderButton } from "../opener.mjs";
import { lossChart, lossRows } from "./learn/loss.mjs";
import { Side } from "./learn/side.mjs";

export const view = {
    name: "learn",
    title: "Learn",
    answers: "How did the model come to this answer?",
    suits: () => true,
    settings: { checkpoint: -1, beside: -1, checkpointBeside: -1, part: "cross", layer: 0, head: 0, at: -1 },
    render(host, state, model, { runs, number, left }) {
        const figure = new Figure("loss"), first = new Side(state, model, "checkpoint"), beside = new Beside(state, runs, number, left), sides = element("div", { class: "sides" });
        const few = element("p", { class: "muted few" }, "This page has the trained model alone. To see it learn, keep checkpoints when you train, and put them into the page: ",
            element("code", {}, "clearformer train … --train.checkpoint-every 100 --train.keep-checkpoints 12"), ", then ", element("code", {}, "clearformer explore RUN --checkpoints 8"), ".");
        host.append(element("div", { class: "learn-top" }, figure.element, beside.element), few, sides);
        return async (reading, signal) => {
            few.hidden = model.run.checkpoints.length > 1;
            const second = await beside.side(), all = [first, second].filter(Boolean);
            if (sides.children.length !== all.length || sides.lastChild !== all.at(-1).element) sides.replaceChildren(...all.map((each) => each.element));
            const shown = all.map(({ model: { run }, checkpoints, at }) => ({ name: run.name, lines: run.metrics, steps: checkpoints.map(({ step }) => step), at }));
            figure.element.hidden = !shown.some(({ lines }) => lines.length);
            if (!figure.element.hidden) {
                const to = (i) => state.set({ checkpoint: i === shown[0].steps.length - 1 ? -1 : i });
                figure.show("Loss in training", lossChart(shown, figure.picture.clientWidth, to), lossRows(shown), "In nats. Triangles are checkpoints; the line is the one that is shown below.");
            }
            const read = async (side) => (side === first ? reading : side.model.ask("read", { text: state.text, target: state.target }, signal));
            await Promise.all(all.map(async (side) => side.update(await read(side), signal)));
        };
    },
};

/** The second run: which one, and its side. */
class Beside {
    constructor(state, runs, number, left) {
        Object.assign(this, { state, runs, number });
        this.choice = element("div", {});
        this.element = element("div", { class: "beside" }, element("h3", {}, "Beside another run"), this.choice, folderButton((run) => this.#open(run)));
        left.addEventListener("abort", () => this.opened?.model.close());
        this.#list();
    }

    /** Of the run that the state names, undefined if it names none. */
    async side() {
        const { state, runs, opened } = this, run = runs[state.beside];
        this.#list();
        if (opened && opened.run === run) return opened.side;
        opened?.model.close();
        this.opened = undefined;
        if (!run) return undefined;
        const model = await Model.open(run);
        this.opened = { run, model, side: new Side(state, model, "checkpointBeside") };
        return this.opened.side;
    }

    #open(run) {
        this.runs.push(run);
        this.state.set({ beside: this.runs.length - 1, checkpointBeside: -1 });
    }

    #list() {
        const { state, runs, number } = this, others = runs.map(({ name }, i) => [String(i), name]).filter((_, i) => i !== number);
        const choose = (value) => state.set({ beside: Number(value), checkpointBeside: -1 });
        this.choice.replaceChildren(...(others.length ? [list("Run", [["-1", "none"], ...others], String(state.beside), choose).element] : []));
    }
}
