/* What is typed: a text, or a source and a target. */

import { element } from "./dom.mjs";

export const MOST = 10_000; /* characters of a text */
export const readable = (text) => text.slice(0, MOST);

const CUT = `Only the first ${MOST.toLocaleString("en")} characters are read.`;
const LABELS = {
    transformer: ["Source", ""],
    gpt: ["Text", "The model continues it."],
    bert: ["Text", "Type <mask> for a hidden token, or choose one below."],
    classifier: ["Text", "A tab between two texts joins them."],
};

/** `show` puts what the state has into the fields, `placeholder` what the model wrote into an empty target. */
export function fields(state, family) {
    const target = family === "transformer" && field(state, "target", "Target", "Empty: the model writes it.");
    const all = [field(state, "text", ...LABELS[family]), target].filter(Boolean);
    const show = () => all.forEach((each) => each.show());
    const placeholder = ({ texts }) => target && (target.area.placeholder = texts[1].tokens.slice(1).join(""));
    show();
    return { element: element("div", { class: "fields" }, all.map(({ box }) => box)), show, placeholder };
}

function field(state, name, label, hint) {
    const area = element("textarea", {
        id: `field-${name}`, rows: 2, maxlength: MOST, dir: "auto", "aria-describedby": `hint-${name}`,
        spellcheck: "false", autocomplete: "off", autocapitalize: "off",
        input: () => state.set({ [name]: area.value }),
    });
    const about = element("span", { id: `hint-${name}`, class: "muted" });
    const show = () => {
        if (area.value !== state[name]) area.value = state[name];
        about.textContent = state[name].length < MOST ? hint : CUT;
    };
    const named = element("label", { for: area.id }, label);
    return { area, show, box: element("div", { class: "field" }, named, about, area) };
}
