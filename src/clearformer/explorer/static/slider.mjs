/* A slider over named stops, as a field that changes a number of the state; -1 stands for the last. */

import { element } from "./dom.mjs";

/** `show` is for the names of the stops, and the number of the one that is chosen. */
export function slider(state, name, label) {
    const field = element("input", { type: "range", min: 0, step: 1, input: () => state.set({ [name]: Number(field.value) === Number(field.max) ? -1 : Number(field.value) }) });
    const said = element("output", {}), box = element("label", { class: "slider" }, element("span", {}, label), field, said);
    const show = (names, at) => {
        field.max = names.length - 1;
        field.value = at;
        field.disabled = names.length < 2;
        said.textContent = `${names[at]} (${at + 1} of ${names.length})`;
        field.setAttribute("aria-valuetext", said.textContent);
    };
    return { element: box, show };
}
