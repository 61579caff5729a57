/* Tokens in a row: each with its text and number; buttons where something can be chosen. */

import { element, roving } from "./dom.mjs";
import { percent, token, visible } from "./visible.mjs";

/** `tokens` are [{ id, text, unknown, p, hint }], with the probability p that the model gave the token, if it gave one.
    `press` is called with the place of a chosen one, and `pressed` says which are; without it nothing can be chosen. */
export function tokenRow(label, tokens, { press, pressed } = {}) {
    const row = element("ol", { class: "tokens", "aria-label": label }, tokens.map((each, place) => {
        const { id, text, unknown, p, hint } = each, number = unknown ? "unknown" : String(id);
        const meter = p !== undefined && element("i", { class: "meter", css: { "--share": p } });
        const probability = p !== undefined && `probability ${percent(p)}`;
        const words = [visible(text), unknown ? number : `number ${id}`, probability, hint];
        const about = { class: unknown ? "token unknown" : "token", title: words.filter(Boolean).join(", ") };
        const button = press && {
            type: "button", "aria-label": about.title, "aria-pressed": String(pressed(place)),
            click: () => press(place),
        };
        const inside = [token(text), element("small", {}, number), meter];
        return element("li", {}, element(press ? "button" : "span", { ...about, ...button }, inside));
    }));
    if (press) roving(row);
    return row;
}
