/* Every head cut in turn: a map of what that changes, and beside it how sharp the heads' attention is. */

import { heatmap } from "../heatmap.mjs";
import { scatter } from "../scatter.mjs";
import { stacksOf, sublayersOf } from "../stacks.mjs";
import { token } from "../visible.mjs";

/** The kinds of heads: { title, cores }, a core for each layer. */
export function kindsOfHeads({ family, sizes }) {
    const stackTitle = ({ title }) => (family === "transformer" ? title : "Self-attention");
    return stacksOf(family, sizes).flatMap((stack) => {
        const attentions = sublayersOf(family, stack).filter((sublayer) => sublayer !== "feed_forward");
        return attentions.map((sublayer) => ({
            title: sublayer === "cross_attention" ? "Cross-attention" : stackTitle(stack),
            cores: Array.from({ length: sizes.L }, (_, l) => `${stack.name}.layers.${l}.${sublayer}.core`),
        }));
    });
}

/** All heads, { kind, title, layer, head, change, sharpness }, of what the task "sweep" found for all cores, when ln P
    is `before` untouched. */
export function headsOf(model, found, before) {
    const layers = kindsOfHeads(model).flatMap(({ title: kind, cores }) =>
        cores.map((core, layer) => ({ kind, core, layer })));
    return layers.flatMap(({ kind, core, layer }) => {
        const where = model.family === "transformer" ? `${kind.toLowerCase()} ` : "";
        return found.filter((each) => each.core === core).map(({ head, logP, sharpness }) =>
            ({ kind, title: `${where}layer ${layer} head ${head}`, layer, head, change: logP - before, sharpness }));
    });
}

/** A map of each kind. */
export function mapFigures(model, heads, { name, output }) {
    const { L, H } = model.sizes, most = Math.max(...heads.map(({ change }) => Math.abs(change)));
    const names = (letter, length) => Array.from({ length }, (_, i) => `${letter}${i}`);
    return kindsOfHeads(model).map(({ title }) => {
        const shown = heads.filter(({ kind }) => kind === title);
        const values = Float64Array.from(shown, ({ change }) => change);
        const said = shown.map((head) => `${head.title} ${head.change.toFixed(3)}`).join(", ");
        const label = `${title}: change of ln P without each head; ${said}`;
        return {
            title: [`${title}: change of ln P of `, token(name(output))],
            picture: heatmap({ T: L, S: H, values }, names("L", L), names("H", H), label, { most, wide: true }).picture,
            rows: [
                ["layer", "head", "change", "largest weight"],
                ...shown.map(({ layer, head, change, sharpness }) => [String(layer), head, change, sharpness]),
            ],
        };
    });
}

/** How sharp the heads look, and what they do. */
export function pointsFigure(heads, { idle, busy }) {
    const point = (head) =>
        ({ x: head.sharpness, y: Math.abs(head.change), name: head.title, strong: head === idle || head === busy });
    const axes = { x: "largest attention weight, mean over queries", y: "|change of ln P|" };
    const points = heads.filter(({ sharpness }) => !Number.isNaN(sharpness)).map(point);
    return {
        title: "All heads",
        note: "If attention explained the output, these points would lie on a line that rises.",
        picture: scatter(points, axes, "Each head’s largest attention weight, and the change of ln P without it"),
        rows: [
            ["head", "largest weight", "change of ln P"],
            ...heads.map(({ title, sharpness, change }) => [title, sharpness, change]),
        ],
    };
}
