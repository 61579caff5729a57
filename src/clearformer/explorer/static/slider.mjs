/* A slider over named stops, which changes a number of the state; -1 stands for the last stop. */

import { element } from "./dom.mjs";

/** `show` is for the names of the stops, and the number of the one that is chosen. */
export function slider(state, setting, label) {
    const change = ({ target: { value, max } }) => state.set({ [setting]: value === max ? -1 : Number(value) });
    const field = element("input", { type: "range", min: 0, step: 1, input: change }), said = element("output");
    const show = (names, at) => {
        field.max = names.length - 1;
        field.value = at;
        said.textContent = `${names[at]} (${at + 1} of ${names.length})`;
        field.setAttribute("aria-valuetext", said.textContent);
    };
    return { element: element("label", { class: "slider" }, element("span", {}, label), field, said), show };
}
