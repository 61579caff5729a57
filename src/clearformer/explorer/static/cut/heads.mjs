/* Every head cut in turn: a map of what that changes, and beside it how sharp the heads' attention is. */

import { heatmap } from "../heatmap.mjs";
import { scatter } from "../scatter.mjs";
import { stacksOf, sublayersOf } from "../stacks.mjs";
import { token } from "../visible.mjs";

/** The kinds of heads: { title, cores }, a core for each layer. */
export function kindsOf({ family, sizes }) {
    return stacksOf(family, sizes).flatMap((stack) => sublayersOf(family, stack).filter((each) => each !== "feed_forward").map((sublayer) => ({
        title: sublayer === "cross_attention" ? "Cross-attention" : family === "transformer" ? stack.title : "Self-attention",
        cores: Array.from({ length: sizes.L }, (_, l) => `${stack.name}.layers.${l}.${sublayer}.core`),
    })));
}

/** All heads, { kind, title, layer, head, change, sharpness }, of what the task "sweep" found for all cores, when ln P is
    `before` untouched. */
export function headsOf(model, found, before) {
    const layers = kindsOf(model).flatMap(({ title, cores }) => cores.map((core, layer) => ({ kind: title, core, layer })));
    return layers.flatMap(({ kind, core, layer }) => found.filter((each) => each.core === core).map(({ head, logP, sharpness }) => {
        const title = `${model.family === "transformer" ? `${kind.toLowerCase()} ` : ""}layer ${layer} head ${head}`;
        return { kind, title, layer, head, change: logP - before, sharpness };
    }));
}

/** A map of each kind. */
export function mapFigures(model, heads, { name, output }) {
    const { L, H } = model.sizes, most = Math.max(...heads.map(({ change }) => Math.abs(change)));
    const names = (letter, length) => Array.from({ length }, (_, i) => `${letter}${i}`);
    return kindsOf(model).map(({ title }) => {
        const shown = heads.filter(({ kind }) => kind === title), values = Float64Array.from(shown, ({ change }) => change);
        const label = `${title}: change of ln P without each head; ${shown.map((head) => `${head.title} ${head.change.toFixed(3)}`).join(", ")}`;
        return {
            title: [`${title}: change of ln P of `, token(name(output))],
            picture: heatmap({ T: L, S: H, values }, names("L", L), names("H", H), label, most).picture,
            rows: [
                ["layer", "head", "change", "largest weight"],
                ...shown.map(({ layer, head, change, sharpness }) => [String(layer), head, change, sharpness]),
            ],
        };
    });
}

/** How sharp the heads look, and what they do. */
export function pointsFigure(heads, { idle, busy }) {
    const points = heads.filter(({ sharpness }) => !Number.isNaN(sharpness))
        .map((head) => ({ x: head.sharpness, y: Math.abs(head.change), name: head.title, strong: head === idle || head === busy }));
    return {
        title: "All heads",
        note: "If attention explained the output, these points would lie on a line that rises.",
        picture: scatter(points, { x: "largest attention weight, mean over queries", y: "|change of ln P|" },
            "Each head’s largest attention weight, and the change of ln P without it"),
        rows: [["head", "largest weight", "change of ln P"], ...heads.map(({ title, sharpness, change }) => [title, sharpness, change])],
    };
}
