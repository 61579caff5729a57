/* What is typed: a text, or a source and a target. */

import { element } from "./dom.mjs";

export const MOST = 10_000; /* characters of a text */
const LABELS = {
    transformer: ["Source", ""],
    gpt: ["Text", "The model continues it."],
    bert: ["Text", "Type <mask> for a hidden token, or choose one below."],
    classifier: ["Text", "A tab between two texts joins them."],
};

/** `show` puts what the state has into the fields, `placeholder` what the model wrote into an empty target. */
export function fields(state, family) {
    const [label, hint] = LABELS[family], text = field(state, "text", label, hint);
    const target = family === "transformer" && field(state, "target", "Target", "Empty: the model writes it.");
    const all = [text, target].filter(Boolean);
    const show = () => all.forEach((each) => each.show());
    show();
    const placeholder = ({ texts }) => target && (target.area.placeholder = texts[1].tokens.slice(1).join(""));
    return { element: element("div", { class: "fields" }, all.map(({ box }) => box)), show, placeholder };
}

function field(state, name, label, hint) {
    const area = element("textarea", {
        id: `field-${name}`, rows: 2, maxlength: MOST, spellcheck: "false", autocomplete: "off", autocapitalize: "off", dir: "auto",
        "aria-describedby": `hint-${name}`, input: () => state.set({ [name]: area.value }),
    });
    const about = element("span", { id: `hint-${name}`, class: "muted" });
    const show = () => {
        if (area.value !== state[name]) area.value = state[name];
        about.textContent = state[name].length < MOST ? hint : `Only the first ${MOST.toLocaleString("en")} characters are read.`;
    };
    return { area, show, box: element("div", { class: "field" }, element("label", { for: area.id }, label), about, area) };
}
