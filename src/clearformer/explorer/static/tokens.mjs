/* Tokens in a row: each with its text and number; a button where something can be chosen. */

import { element, roving } from "./dom.mjs";
import { percent, token, visible } from "./visible.mjs";

/** `tokens` are [{ id, text, unknown, p, hint }], with the probability p that the model gave the token, if it gave one.
    `press` is called with the place of a chosen one, and `pressed` says which are; without it nothing can be chosen. */
export function tokenRow(label, tokens, { press, pressed = () => false } = {}) {
    const row = element("ol", { class: "tokens", "aria-label": label }, tokens.map((each, place) => {
        const inside = [token(each.text), element("small", {}, each.unknown ? "unknown" : String(each.id))];
        if (each.p !== undefined) inside.push(element("i", { class: "meter", css: { "--share": each.p } }));
        const name = [visible(each.text), each.unknown ? "unknown" : `number ${each.id}`, each.p !== undefined && `probability ${percent(each.p)}`, each.hint];
        const attributes = { class: each.unknown ? "token unknown" : "token", title: name.filter(Boolean).join(", ") };
        return element("li", {}, press
            ? element("button", { ...attributes, type: "button", "aria-label": attributes.title, "aria-pressed": String(pressed(place)), click: () => press(place) }, inside)
            : element("span", attributes, inside));
    }));
    if (press) roving(row);
    return row;
}
