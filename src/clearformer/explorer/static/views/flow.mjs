/* Flow: the whole model as a diagram, with the numbers of the text, and a walk through it. */

import { element } from "../dom.mjs";
import { Figure } from "../figure.mjs";
import { tokenRow } from "../tokens.mjs";
import { printable, visible } from "../visible.mjs";
import { boxesOf, diagramOf } from "./flow/boxes.mjs";
import { Details } from "./flow/details.mjs";
import { diagramPicture } from "./flow/diagram.mjs";
import { KINDS, settingsOf } from "./flow/kinds.mjs";

const MASK = 4;
const WIDE = window.matchMedia("(min-width: 94rem)"); /* room for two stacks and what is said beside them */

export const view = {
    name: "flow",
    title: "Flow",
    answers: "How does the text become the answer, step by step?",
    suits: () => true,
    settings: { box: "", layer: 0, head: 0, at: -1, from: 0 },
    render(host, state, model) {
        const rows = element("div", { class: "rows" }), figure = new Figure("flow"), details = new Details(state);
        host.append(rows, element("div", { class: "flow" }, element("div", { class: "map" }, figure.element), details.element));
        let scrolled;
        return async (reading, signal) => {
            const settings = settingsOf(model), layer = Math.min(state.layer, settings.L - 1), at = placesOf(reading, state);
            const boxes = boxesOf(diagramOf(model, layer)), walk = boxes.filter(({ kind }) => kind !== "folded"), box = walk.find(({ id }) => id === state.box) ?? walk[0];
            const diagram = diagramOf(model, layer, opened(model, box)), drawn = boxesOf(diagram), all = new Map([...boxes, ...drawn].map((each) => [each.id, each]));
            const asked = [...all.values()].map(({ id, value, text }) => ({ id, value, text }));
            const { found, shown } = await model.ask("flow", { inputs: reading.inputs, boxes: asked, at, shown: box.id }, signal);
            const classifies = model.family === "classifier", names = classifies ? model.run.classes : model.tokens, show = classifies ? printable : visible;
            const output = (id) => show(names[id] ?? String(id)), head = Math.min(state.head, settings.H - 1);
            const tokens = (text) => namesOf(reading, text), chosen = ({ text }) => tokens(text)[at[text]];
            const c = { ...settings, found, shown, at, head, output, tokens, chosen, shape: (each, short) => shapeOf(each, settings, reading, short) };
            drawTokens(rows, reading, at, state);
            const press = ({ kind, id, stack, layer: l }) => state.set(kind === "folded" ? { layer: l, box: firstOf(model, stack, l) } : { box: id });
            const focused = figure.picture.contains(document.activeElement);
            figure.show("The model", diagramPicture(diagram, c, box.id, WIDE.matches, press), tableOf(drawn, c));
            details.draw(box, walk, c);
            const pressed = figure.picture.querySelector("[aria-pressed=true]");
            if (focused) pressed.focus({ preventScroll: true });
            if (scrolled !== box.id) reveal(pressed, host.querySelector(".map"));
            scrolled = box.id;
        };
    },
};

/** Where there is no room for two stacks, only that of the chosen box shows its layer. */
const opened = ({ family }, box) => (stack) => WIDE.matches || family !== "transformer" || stack === box.stack;

const firstOf = (model, stack, l) => boxesOf(diagramOf(model, l)).find((each) => each.stack === stack && each.layer === l && each.kind !== "folded").id;

/** The chosen token of each text; if none was chosen, the first hidden one, or else the last. */
function placesOf({ texts, inputs }, { at, from }) {
    const hidden = inputs.tokens?.indexOf(MASK) ?? -1, last = ({ ids }) => (hidden < 0 ? ids.length - 1 : hidden);
    const within = (text, i) => (i < 0 || i >= text.ids.length ? last(text) : i);
    return texts.length > 1 ? [within(texts[0], from), within(texts[1], at)] : [within(texts[0], at)];
}

/** The tokens of a text as the model sees them. */
const namesOf = ({ texts, masked = [] }, text) => texts[text].tokens.map((name, i) => (masked.includes(i) ? "<mask>" : name));

function drawTokens(host, reading, at, state) {
    const { texts } = reading, focused = [...host.querySelectorAll("button")].indexOf(document.activeElement);
    host.replaceChildren(...texts.map(({ name, ids }, text) => {
        const shown = namesOf(reading, text).map((each, i) => ({ id: reading.masked?.includes(i) ? MASK : ids[i], text: each })), setting = text < texts.length - 1 ? "from" : "at";
        const label = texts.length > 1 ? `Follow a token of the ${name}` : "Follow a token";
        return element("div", {}, element("h3", {}, label), tokenRow(label, shown, { pressed: (i) => i === at[text], press: (i) => state.set({ [setting]: i }) }));
    }));
    host.querySelectorAll("button")[focused]?.focus();
}

/** "H 4 × T 15 × E 16", or shorter. */
function shapeOf({ axes }, sizes, { texts }, short) {
    const lengths = { S: texts[0].ids.length, T: texts.at(-1).ids.length, "2F": 2 * sizes.F };
    return axes.split(" ").map((letter) => `${letter}${short ? "" : " "}${lengths[letter] ?? sizes[letter]}`).join(short ? " " : " × ");
}

function tableOf(boxes, { found, shape }) {
    const titleOf = (box) => (typeof KINDS[box.kind].title === "string" ? KINDS[box.kind].title : KINDS[box.kind].title(box));
    const rows = boxes.map((box) => [titleOf(box), box.place ?? "", shape(box), ...["mean", "least", "most", "norm"].map((name) => found[box.id][name])]);
    return [["box", "name", "shape", "mean", "least", "most", "mean norm"], ...rows];
}

/** Scroll the map, not the page, so that the box is in sight. */
function reveal(box, map) {
    const [inner, outer] = [box.getBoundingClientRect(), map.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) map.scrollTop += inner.top - outer.top - outer.height / 3;
}
