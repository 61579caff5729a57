/* What a page says of its run, and the choice of another. */

import { list } from "./controls.mjs";
import { element } from "./dom.mjs";
import { printable } from "./visible.mjs";

const FAMILIES = { transformer: "encoder-decoder", gpt: "GPT", bert: "BERT", classifier: "classifier" };
const SIZES = { L: "layers", H: "heads", D: "wide", F: "feed-forward", V: "tokens" };
const HALF = "Its weights are rounded to half precision: results differ from the run’s by about 0.03 %.";

/** `1 layer`, `2 layers`. */
const counted = (count, meaning) => `${count.toLocaleString("en")} ${count === 1 ? meaning.replace(/s$/, "") : meaning}`;

export function facts({ run, family, sizes, checkpoint }, { runs, index, show, open }) {
    const items = Object.entries(SIZES).map(([letter, meaning]) =>
        element("li", {}, element("b", {}, letter), ` ${counted(sizes[letter], meaning)}`));
    const options = runs.map(({ name }, i) => [String(i), printable(name)]);
    const choice = runs.length > 1 && list("Run", { options }, String(index), (value) => show(Number(value))).element;
    const step = element("li", {}, `step ${checkpoint.step.toLocaleString("en")}`);
    const name = element("h1", {}, element("bdi", {}, printable(run.name)));
    return element("header", {},
        element("div", { class: "title" }, element("span", { class: "brand" }, "clearformer"), name),
        element("ul", { class: "facts" }, element("li", {}, FAMILIES[family]), items, step),
        run.precision === "half" && element("p", { class: "muted" }, HALF),
        element("details", { class: "other" }, element("summary", {}, "Another run"), choice, open));
}
