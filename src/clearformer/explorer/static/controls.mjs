/* Settings of a view, as fields that change the state, and follow it. */

import { element } from "./dom.mjs";

/** `specs`: [{ name, label, options | min, max, step }]; with neither it is a box to tick. `show` is for a changed state. */
export function controls(state, specs) {
    const all = specs.map(({ name, label, ...spec }) => {
        const make = spec.options ? list : "min" in spec ? number : tick, change = (value) => state.set({ [name]: value });
        return { name, ...make(label, spec.options ?? spec, state[name], change) };
    });
    const show = () => all.forEach(({ name, put }) => put(state[name]));
    return { element: element("div", { class: "controls" }, all.map((each) => each.element)), show };
}

const labelled = (label, field) => element("label", { class: "setting" }, element("span", {}, label), field);

/** A choice among [[value, text]]. */
export function list(label, options, value, change) {
    const field = element("select", { change: () => change(field.value) },
        options.map(([name, text]) => element("option", { value: name, selected: name === value }, text)));
    return { element: labelled(label, field), put: (now) => (field.value = now) };
}

/** A number; those out of range change nothing. */
function number(label, { min, max, step }, value, change) {
    const fits = () => field.validity.valid && field.value !== "";
    const field = element("input", { type: "number", min, max, step, value, input: () => fits() && change(Number(field.value)) });
    const put = (now) => (fits() && Number(field.value) === now ? undefined : (field.value = now));
    return { element: labelled(label, field), put };
}

function tick(label, _spec, value, change) {
    const field = element("input", { type: "checkbox", checked: value, change: () => change(field.checked) });
    return { element: element("label", { class: "setting" }, field, element("span", {}, label)), put: (now) => (field.checked = now) };
}
