/* Cut: the model with parts switched off, scaled, or patched from another text. */

import { parse, touches } from "../cut/changes.mjs";
import { outputsFigure, sentences, tokensFigures } from "../cut/effects.mjs";
import { examples, explained } from "../cut/explanation.mjs";
import { headsOf, kindsOfHeads, mapFigures, pointsFigure } from "../cut/heads.mjs";
import { Switches } from "../cut/switches.mjs";
import { WHERE, Where } from "../cut/where.mjs";
import { element } from "../dom.mjs";
import { Figures } from "../figure.mjs";
import { QUESTION, Question } from "../question.mjs";
import { Work } from "../work.mjs";

const column = (title, ...parts) => element("div", {}, element("h3", {}, title), ...parts);

export const view = {
    name: "cut",
    title: "Cut",
    answers: "Which parts does the output need?",
    settings: { ...QUESTION, ...WHERE, cuts: "", sweep: true },
    render(host, state, model) {
        const parts = [Question, Switches, Where, Heads].map((Part) => new Part(state, model));
        const [question, switches, where, heads] = parts;
        const said = element("div", { class: "rows", "aria-live": "polite" });
        const outputs = new Figures("changes");
        const tokens = new Figures("changes-by-token", "The tokens; arrow keys scroll");
        tokens.element.classList.add("wide");
        const left = column("Change the model", where.controls.element, switches.element, where.details, where.second);
        const right = column("What changes", said, outputs.element, tokens.element);
        host.append(question.element, element("div", { class: "cut" }, left, right), heads.element);
        return async (reading, signal) => {
            switches.show();
            const asked = await question.ask(reading, signal), second = await where.read(reading, signal);
            const chosen = parse(state.cuts, model), changes = chosen.filter(({ patch }) => second || !patch);
            where.lacking.hidden = chosen.length === changes.length;
            const { row: at, output, own: targets } = asked, { inputs } = reading;
            const values = { inputs, second, changes: touches(changes, where.places(reading)), at, output, targets };
            const found = await model.ask("cut", values, signal);
            said.replaceChildren(...sentences(asked, found, !changes.length));
            outputs.show([outputsFigure(asked, found.outputs)]);
            tokens.show(changes.length ? tokensFigures(asked, found.targets) : []);
            heads.show(asked, inputs, found.outputs.find(({ id }) => id === output).before, signal);
        };
    },
};

/** All heads of the untouched model, each cut in turn. */
class Heads {
    constructor(state, model) {
        this.model = model;
        this.maps = new Figures("heads", "The map; arrow keys scroll");
        this.maps.element.classList.add("narrow");
        this.points = new Figures("attention-and-effect");
        this.words = element("div", { class: "rows" });
        this.element = element("div", { class: "cut" });
        this.work = new Work(state, "sweep", "Cut every head in turn", this.element);
        this.element.append(column("Which heads matter?", this.work.element, this.maps.element),
            column("Attention is not explanation", this.words, this.points.element));
    }

    /** Nobody waits for it, so that all else can be used meanwhile. */
    async show(asked, inputs, before, signal) {
        const { model, work } = this, { row: at, output, name } = asked;
        const cores = kindsOfHeads(model).flatMap((kind) => kind.cores);
        const steps = cores.map((core) => () => model.ask("sweep", { inputs, cores: [core], at, output }, signal));
        const found = await work.run(JSON.stringify([inputs, at, output]), steps, signal);
        if (signal.aborted) return;
        const heads = found ? headsOf(model, found.flat(), before) : [], chosen = found ? examples(heads) : {};
        this.maps.show(found ? mapFigures(model, heads, asked) : []);
        this.points.show(found ? [pointsFigure(heads, chosen)] : []);
        this.words.replaceChildren(...(found ? explained(chosen, name(output)) : []));
    }
}
