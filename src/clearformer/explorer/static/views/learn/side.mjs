/* One run at one of its checkpoints: what it says, what a head looks at, and how likely the answer was at all. */

import { placeIn } from "../../address.mjs";
import { element, replace } from "../../dom.mjs";
import { Figure, Figures } from "../../figure.mjs";
import { checkpointNames } from "../../run.mjs";
import { slider } from "../../slider.mjs";
import { printable } from "../../visible.mjs";
import { pause } from "../../work.mjs";
import { SHOW } from "../type.mjs";
import { Head } from "./head.mjs";
import { historyOf, placeOf } from "./history.mjs";

const MOST = 24; /* tokens that are written; of a run that learned arithmetic, the answer alone */
const WRITES = { gpt: "It goes on: ", transformer: "It writes: " };

export class Side {
    /** `setting`: of the state, which checkpoint is shown. */
    constructor(state, model, setting) {
        Object.assign(this, { state, model, setting, run: model.run });
        const name = printable(this.run.name);
        this.slider = slider(state, setting, "Checkpoint");
        this.written = element("p", { class: "prose" });
        this.rows = element("div", { class: "rows" });
        this.history = new Figure("checkpoints");
        this.outputs = new Figures("outputs");
        this.head = new Head(state, model);
        const figures = element("div", {}, this.history.element, this.outputs.element);
        this.element = element("section", { class: "side", "aria-label": name }, element("h3", {}, name),
            this.slider.element, this.written, this.rows,
            element("div", { class: "evidence" }, figures, this.head.element));
    }

    /** The number of the checkpoint that is shown. */
    get at() {
        const { length } = this.run.checkpoints;
        return placeIn(length, this.state[this.setting], length - 1);
    }

    get names() {
        return checkpointNames(this.run);
    }

    /** `reading`: the text as the trained model reads it. */
    async update(reading, signal) {
        const { model, run, state, names, at } = this, checkpoint = model.at(run.checkpoints[at]), { inputs } = reading;
        const ask = (task, values) => checkpoint.ask(task, { inputs, ...values }, signal);
        this.slider.show(names, at);
        this.slider.element.hidden = names.length < 2;
        const said = await SHOW[model.family]({ state, model, reading, ask: (values) => ask("outputs", values) });
        replace(this.rows, ...said.rows);
        this.outputs.show(said.figures);
        await this.head.update(reading, ask, names[at]);
        await this.#look(reading, signal);
        this.#write(ask, signal); /* nobody waits for it, so that all else can be used meanwhile */
    }

    async #write(ask, signal) {
        const words = WRITES[this.model.family];
        this.written.hidden = !words;
        if (!words) return;
        this.written.setAttribute("aria-busy", "true");
        const asked = pause(signal).then(() => ask("continuation", { most: this.run.config.modular ? 1 : MOST }));
        const text = await asked.then(printable, ({ message }) => message);
        if (signal.aborted) return;
        const shown = element("bdi", {}, text.replaceAll("\n", "⏎"));
        this.written.replaceChildren(element("span", { class: "muted" }, words), shown);
        this.written.removeAttribute("aria-busy");
    }

    /** Back at all checkpoints; what they computed of a text is remembered until there is another. */
    async #look(reading, signal) {
        const { model, run, state, names, at } = this, { inputs } = reading;
        const place = placeOf(reading, state, model), key = JSON.stringify([inputs, place]);
        this.history.element.hidden = names.length < 2 || place < 0;
        if (this.history.element.hidden) return;
        if (this.past?.key !== key) {
            const found = [];
            for (const each of run.checkpoints)
                found.push(await model.at(each).ask("probabilities", { inputs, at: place }, signal));
            this.past = { key, found };
        }
        this.history.show(historyOf(model, this.past.found, names, at));
    }
}
