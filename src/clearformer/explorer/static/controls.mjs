/* Settings of a view, as fields that change the state, and follow it. */

import { element } from "./dom.mjs";

/** `specs`: [{ name, label }], with `options` for a choice, or `min`, `max` and `step` for a number, and else a box to
    tick. `show` is to be called when the state has changed. */
export function controls(state, specs) {
    const all = specs.map(({ name, label, ...spec }) => {
        const make = spec.options ? list : "min" in spec ? number : tick;
        return { name, ...make(label, spec, state[name], (value) => state.set({ [name]: value })) };
    });
    const show = () => all.forEach(({ name, put }) => put(state[name]));
    return { element: element("div", { class: "controls" }, all.map((each) => each.element)), show };
}

const labelled = (...children) => element("label", { class: "setting" }, children);

/** A choice among [[value, text]]. */
export function list(label, { options }, value, change) {
    const field = element("select", { change: () => change(field.value) },
        options.map(([name, text]) => element("option", { value: name, selected: name === value }, text)));
    return { element: labelled(element("span", {}, label), field), put: (now) => (field.value = now) };
}

/** A number; one that is out of range changes nothing. */
function number(label, range, value, change) {
    const fits = () => field.validity.valid && field.value !== "";
    const field = element("input", {
        type: "number", ...range, value, input: () => fits() && change(Number(field.value)),
    });
    const put = (now) => {
        if (!fits() || Number(field.value) !== now) field.value = now;
    };
    return { element: labelled(element("span", {}, label), field), put };
}

function tick(label, _spec, value, change) {
    const field = element("input", { type: "checkbox", checked: value, change: () => change(field.checked) });
    return { element: labelled(field, element("span", {}, label)), put: (now) => (field.checked = now) };
}
