/* Attend: what each head looks at. */

import { optionIn, placeIn } from "../address.mjs";
import { controls } from "../controls.mjs";
import { element, roving } from "../dom.mjs";
import { mapCanvas } from "../heatmap.mjs";
import { Large } from "./attend/large.mjs";

/** Of an encoder-decoder. */
export const PARTS = [
    ["cross", "target to source"],
    ["encoder", "encoder, within the source"],
    ["decoder", "decoder, within the target"],
];
const SHOW = [
    ["softmax", "softmax: the weights"],
    ["scores", "scores before the softmax"],
    ["values", "weights × length of the value"],
];
const SORTS = [
    ["layer", "layer"],
    ["entropy", "entropy, lowest first"],
    ["first", "first token"],
    ["diagonal", "diagonal"],
    ["previous", "previous token"],
    ["induction", "induction, on random tokens"],
    ["monotone", "monotone"],
];
const HIDE = "Hide the first token, and share its weight among the others";

export const view = {
    name: "attend",
    title: "Attend",
    answers: "What does each head look at?",
    settings: {
        part: "cross", sort: "layer", show: "softmax", hideFirst: false, layer: 0, head: 0, query: -1, key: -1,
    },
    render(host, state, model) {
        const settings = controls(state, settingsOf(model));
        const heads = element("div", { class: "heads", role: "group", "aria-label": "Heads" });
        const large = new Large(state);
        host.append(settings.element, element("div", { class: "attend" }, heads, large.element));
        return async (reading, signal) => {
            settings.show();
            const { L, H } = model.sizes, part = partOf(model) ?? optionIn(PARTS, state.part);
            const layer = placeIn(L, state.layer), head = placeIn(H, state.head);
            const sort = optionIn(sortsOf(part), state.sort), show = optionIn(SHOW, state.show);
            const values = { inputs: reading.inputs, part, layer, head, show, sort, hideFirst: state.hideFirst };
            const found = await model.ask("attention", values, signal);
            drawHeads(heads, found.heads, sort, { layer, head }, (chosen) => state.set(chosen));
            large.draw({ ...found.head, title: `Layer ${layer}, head ${head}` }, namesOf(reading, part));
        };
    },
};

function settingsOf(model) {
    const part = partOf(model), scored = part ? [part] : ["cross", "encoder"];
    const sorts = [...new Set(scored.flatMap(sortsOf))];
    const parts = { name: "part", label: "Attention", options: PARTS };
    return [
        ...(part ? [] : [parts]),
        { name: "sort", label: "Heads by", options: sorts },
        { name: "show", label: "Show", options: SHOW },
        { name: "hideFirst", label: HIDE },
    ];
}

/** The only part of a model, or undefined of an encoder-decoder, which has three. */
export function partOf({ family, sizes }) {
    if (family === "transformer") return undefined;
    return family === "gpt" || sizes.causalBody ? "decoder" : "encoder";
}

/** The scores that heads of a part have. */
function sortsOf(part) {
    const lacks = { encoder: ["induction", "monotone"], decoder: ["monotone"], cross: ["induction", "previous"] }[part];
    return SORTS.filter(([name]) => !lacks.includes(name));
}

/** The tokens of queries and keys. */
export function namesOf({ texts, written }, part) {
    const { tokens } = part === "decoder" ? texts.at(-1) : texts[0];
    return { query: part === "cross" ? written.tokens : tokens, key: tokens };
}

/** A small map of each head, in layers or sorted by a score. */
function drawHeads(host, heads, sort, chosen, choose) {
    const focused = host.contains(document.activeElement), sign = sort === "entropy" ? -1 : 1;
    const order = (a, b) => sign * (b.scores[sort] - a.scores[sort]), inLayers = sort === "layer";
    const words = Object.fromEntries(SORTS)[sort], columns = heads.filter(({ layer }) => layer === 0).length;
    const canvases = [...host.querySelectorAll("canvas")];
    host.style.setProperty("--heads", inLayers ? columns : "auto-fill");
    host.replaceChildren(...(inLayers ? heads : [...heads].sort(order)).map(({ layer, head, scores, map }) => {
        const score = inLayers ? "" : scores[sort].toFixed(2);
        const about = {
            type: "button", "aria-pressed": String(layer === chosen.layer && head === chosen.head),
            "aria-label": `Layer ${layer}, head ${head}${score && `, ${words} ${score}`}`,
            title: Object.entries(scores).map(([name, value]) => `${name} ${value.toFixed(2)}`).join("\n"),
        };
        const name = element("small", {}, `L${layer} H${head}`, score && element("b", {}, ` ${score}`));
        const small = mapCanvas(map, 1, canvases.pop());
        return element("button", { ...about, click: () => choose({ layer, head }) }, small, name);
    }));
    roving(host);
    if (focused) host.querySelector("[aria-pressed=true]")?.focus();
}
