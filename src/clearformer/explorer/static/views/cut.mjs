/* Cut: the model with parts switched off, scaled, or patched from another text. */

import { parse, touches } from "../cut/changes.mjs";
import { outputsFigure, sentences, tokensFigures } from "../cut/effects.mjs";
import { examples, explained } from "../cut/explanation.mjs";
import { headsOf, kindsOf, mapFigures, pointsFigure } from "../cut/heads.mjs";
import { Switches } from "../cut/switches.mjs";
import { WHERE, Where } from "../cut/where.mjs";
import { element } from "../dom.mjs";
import { Figures } from "../figure.mjs";
import { QUESTION, Question } from "../question.mjs";
import { Work } from "../work.mjs";

export const view = {
    name: "cut",
    title: "Cut",
    answers: "Which parts does the output need?",
    suits: () => true,
    settings: { ...QUESTION, ...WHERE, cuts: "", sweep: true },
    render(host, state, model) {
        const question = new Question(state, model), switches = new Switches(state, model), where = new Where(state, model);
        const said = element("div", { class: "rows", "aria-live": "polite" }), heads = new Heads(state, model);
        const [outputs, tokens] = ["changes", "changes-by-token"].map((name) => new Figures(name));
        tokens.element.classList.add("wide");
        host.append(question.element, element("div", { class: "cut" },
            element("div", {}, element("h3", {}, "Change the model"), where.controls.element, switches.element, where.details, where.second),
            element("div", {}, element("h3", {}, "What changes"), said, outputs.element, tokens.element)), heads.element);
        return async (reading, signal) => {
            switches.show();
            const asked = await question.ask(reading, signal), second = await where.read(reading, signal);
            const chosen = parse(state.cuts, model), changes = chosen.filter(({ patch }) => second || !patch), { row: at, output, own: targets } = asked;
            where.lacking.hidden = chosen.length === changes.length;
            const values = { inputs: reading.inputs, second, changes: touches(changes, where.places(reading)), at, output, targets };
            const found = await model.ask("cut", values, signal);
            said.replaceChildren(...sentences(asked, found, !changes.length));
            outputs.show([outputsFigure(asked, found.outputs)]);
            tokens.show(changes.length ? tokensFigures(asked, found.targets) : []);
            heads.show(asked, reading.inputs, found.outputs.find(({ id }) => id === output).before, signal);
        };
    },
};

/** All heads of the untouched model, each cut in turn. */
class Heads {
    constructor(state, model) {
        Object.assign(this, { model, maps: new Figures("heads"), points: new Figures("attention-and-effect"), words: element("div", { class: "rows" }) });
        this.maps.element.classList.add("narrow");
        this.element = element("div", { class: "cut" });
        this.work = new Work(state, "sweep", "Cut every head in turn", this.element);
        this.element.append(element("div", {}, element("h3", {}, "Which heads matter?"), this.work.element, this.maps.element),
            element("div", {}, element("h3", {}, "Attention is not explanation"), this.words, this.points.element));
    }

    /** Nobody waits for it, so that all else can be used meanwhile. */
    async show(asked, inputs, before, signal) {
        const { model, work } = this, { row: at, output, name } = asked;
        const steps = kindsOf(model).flatMap(({ cores }) => cores.map((core) => () => model.ask("sweep", { inputs, cores: [core], at, output }, signal)));
        const found = await work.run(JSON.stringify([inputs, at, output]), steps, signal);
        if (signal.aborted) return;
        const heads = found ? headsOf(model, found.flat(), before) : [], chosen = found ? examples(heads) : {};
        this.maps.show(found ? mapFigures(model, heads, asked) : []);
        this.points.show(found ? [pointsFigure(heads, chosen)] : []);
        this.words.replaceChildren(...(found ? explained(chosen, name(output)) : []));
    }
}
