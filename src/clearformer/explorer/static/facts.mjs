/* What a page says of its run, and the choice of another. */

import { list } from "./controls.mjs";
import { element } from "./dom.mjs";
import { printable } from "./visible.mjs";

const FAMILIES = { transformer: "encoder-decoder", gpt: "GPT", bert: "BERT", classifier: "classifier" };
const SIZES = { L: "layers", H: "heads", D: "wide", F: "feed-forward", V: "tokens" };

export function facts({ run, family, sizes, checkpoint }, { runs, index, show, open }) {
    const items = Object.entries(SIZES).map(([letter, meaning]) =>
        element("li", {}, element("b", {}, letter), ` ${sizes[letter].toLocaleString("en")} ${meaning}`));
    const names = runs.map(({ name }, i) => [String(i), printable(name)]);
    return [
        element("div", { class: "title" }, element("span", { class: "brand" }, "clearformer"), element("h1", {}, element("bdi", {}, printable(run.name)))),
        element("ul", { class: "facts" }, element("li", {}, FAMILIES[family]), items,
            element("li", {}, `step ${checkpoint.step.toLocaleString("en")}`)),
        run.precision === "half" && element("p", { class: "muted" },
            "Its weights are rounded to half precision: results differ from the run’s by about 0.03 %."),
        element("details", { class: "other" }, element("summary", {}, "Another run"),
            runs.length > 1 && list("Run", names, String(index), (value) => show(Number(value))).element, open),
    ].filter(Boolean);
}
