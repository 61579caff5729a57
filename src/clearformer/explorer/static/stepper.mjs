/* Step forwards and back: buttons that change a number of the state. */

import { element } from "./dom.mjs";

/** `show` is for { at, last, words }: the step, the last one there is, and what to say. */
export function stepper(state, name) {
    let now = { at: 0, last: 0 };
    const to = (step) => state.set({ [name]: Math.min(Math.max(step, 0), now.last) });
    const button = (text, label, step) => {
        const attributes = { type: "button", "aria-label": label, title: label, click: () => to(step()) };
        return element("button", attributes, text);
    };
    const back = [button("Start", "To the start", () => 0), button("◀ Back", "One step back", () => now.at - 1)];
    const forward = [
        button("Forward ▶", "One step forward", () => now.at + 1),
        button("+ 10", "Ten steps forward", () => now.at + 10),
    ];
    const said = element("span", { "aria-live": "polite" });
    const show = ({ words, ...given }) => {
        now = given;
        back.forEach((each) => (each.disabled = now.at <= 0));
        forward.forEach((each) => (each.disabled = now.at >= now.last));
        said.textContent = words;
    };
    const about = { class: "stepper", role: "group", "aria-label": "Steps" };
    return { element: element("div", about, back, forward, said), show };
}
