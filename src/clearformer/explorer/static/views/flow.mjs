/* Flow: the whole model as a diagram, with the numbers of the text, and a walk through it. */

import { isPlace, placeIn } from "../address.mjs";
import { element, replace } from "../dom.mjs";
import { Figure } from "../figure.mjs";
import { tokenRow } from "../tokens.mjs";
import { printable, visible } from "../visible.mjs";
import { boxesOf, diagramOf } from "./flow/boxes.mjs";
import { Details } from "./flow/details.mjs";
import { diagramPicture } from "./flow/diagram.mjs";
import { settingsOf, titleOf } from "./flow/kinds.mjs";

const WIDE = matchMedia("(min-width: 94rem)"); /* room for two stacks, and what is said beside them */

export const view = {
    name: "flow",
    title: "Flow",
    answers: "How does the text become the answer, step by step?",
    settings: { box: "", layer: 0, head: 0, at: -1, from: 0 },
    render(host, state, model, { left }) {
        const rows = element("div", { class: "rows" }), figure = new Figure("flow"), details = new Details(state);
        const map = element("div", { class: "map" }, figure.element), settings = settingsOf(model);
        host.append(rows, element("div", { class: "flow" }, map, details.element));
        let last, redraw = () => {};
        WIDE.addEventListener("change", () => redraw(), { signal: left });
        return async (reading, signal) => {
            const layer = placeIn(settings.L, state.layer), all = boxesOf(diagramOf(model, layer));
            const walk = all.filter(({ kind }) => kind !== "folded");
            const box = walk.find(({ id }) => id === state.box) ?? walk[0];
            const at = placesOf(reading, state, model), boxes = [...all, ...foldedOf(model, layer)];
            const asked = boxes.map(({ id, value, text }) => ({ id, value, text }));
            const found = await model.ask("flow", { inputs: reading.inputs, boxes: asked, at, shown: box.id }, signal);
            const c = { ...settings, ...found, ...namesOf(model, settings, reading, at), at };
            c.head = placeIn(settings.H, state.head);
            drawTokens(rows, model, reading, c, state);
            redraw = () => drawDiagram(figure, model, { box, layer, state, c });
            redraw();
            details.draw(box, walk, c);
            if (last !== box.id) reveal(figure.picture.querySelector("[aria-pressed=true]"), map);
            last = box.id;
        };
    },
};

/** The folded box of the open layer: where there is no room for two stacks, the other one has it. */
const foldedOf = (model, layer) =>
    boxesOf(diagramOf(model, -1)).filter((box) => box.kind === "folded" && box.layer === layer);

/** The chosen token of each text; if none was chosen, the first hidden one, or else the last. */
function placesOf({ texts, inputs }, { at, from }, { special: { mask } }) {
    const hidden = inputs.tokens?.indexOf(mask) ?? -1, last = ({ ids }) => (hidden < 0 ? ids.length - 1 : hidden);
    const within = (text, i) => (isPlace(i, text.ids.length) ? i : last(text));
    return texts.length > 1 ? [within(texts[0], from), within(texts[1], at)] : [within(texts[0], at)];
}

/** Names of tokens, outputs and shapes, as kinds.mjs has them. */
function namesOf({ family, run, tokens: vocabulary }, sizes, { texts, masked = [] }, at) {
    const tokens = (text) => texts[text].tokens.map((name, i) => (masked.includes(i) ? "<mask>" : name));
    const [outputs, show] = family === "classifier" ? [run.classes, printable] : [vocabulary, visible];
    const lengths = { ...sizes, S: texts[0].ids.length, T: texts.at(-1).ids.length, "2F": 2 * sizes.F };
    const shape = ({ axes }, short) => {
        const [space, times] = short ? ["", " "] : [" ", " × "];
        return axes.split(" ").map((letter) => `${letter}${space}${lengths[letter]}`).join(times);
    };
    const chosen = ({ text }) => tokens(text)[at[text]], output = (id) => show(outputs[id] ?? String(id));
    return { tokens, shape, chosen, output };
}

function drawTokens(host, { special: { mask } }, { texts, masked = [] }, { tokens, at }, state) {
    replace(host, ...texts.map(({ name, ids }, text) => {
        const setting = text < texts.length - 1 ? "from" : "at", number = (i) => (masked.includes(i) ? mask : ids[i]);
        const label = texts.length > 1 ? `Follow a token of the ${name}` : "Follow a token";
        const shown = tokens(text).map((each, i) => ({ id: number(i), text: each }));
        const choose = { pressed: (i) => i === at[text], press: (i) => state.set({ [setting]: i }) };
        return element("div", {}, element("h3", {}, label), tokenRow(label, shown, choose));
    }));
}

function drawDiagram(figure, model, { box, layer, state, c }) {
    const beside = WIDE.matches, opened = (stack) => beside || model.family !== "transformer" || stack === box.stack;
    const diagram = diagramOf(model, layer, opened), focused = figure.picture.contains(document.activeElement);
    const open = ({ stack, layer: l }) => ({
        layer: l, box: boxesOf(diagramOf(model, l)).find((each) => each.stack === stack && each.sub).id,
    });
    const press = (pressed) => state.set(pressed.kind === "folded" ? open(pressed) : { box: pressed.id });
    const picture = diagramPicture(diagram, c, box.id, beside, press);
    figure.show({ title: "The model", picture, rows: tableOf(boxesOf(diagram), c) });
    if (focused) picture.querySelector("[aria-pressed=true]").focus({ preventScroll: true });
}

function tableOf(boxes, c) {
    const numbers = (box) => ["mean", "least", "most", "norm"].map((name) => c.found[box.id][name]);
    const rows = boxes.map((box) => [titleOf(box, c), box.place ?? "", c.shape(box), ...numbers(box)]);
    return [["box", "name", "shape", "mean", "least", "most", "mean norm"], ...rows];
}

/** Scroll the map, not the page, so that the box is in sight. */
function reveal(box, map) {
    const [inner, outer] = [box.getBoundingClientRect(), map.getBoundingClientRect()];
    if (inner.top < outer.top || inner.bottom > outer.bottom) map.scrollTop += inner.top - outer.top - outer.height / 3;
}
