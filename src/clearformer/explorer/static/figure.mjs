/* A picture that can be saved, and shown as a table. */

import { element } from "./dom.mjs";
import { csv, download, picturePNG, pictureSVG } from "./export.mjs";
import { visible } from "./visible.mjs";

const DIGITS = 4;

export class Figure {
    /** `name`: of the files that it is saved to. */
    constructor(name) {
        this.name = name;
        this.title = element("figcaption");
        this.note = element("p", { class: "muted" });
        this.picture = element("div", { class: "picture" });
        const reached = { tabindex: "0", role: "group", "aria-label": "Table" };
        this.table = element("div", { class: "table", hidden: true, ...reached });
        const table = { type: "button", "aria-pressed": "false", click: ({ target }) => this.#toggle(target) };
        const tools = element("div", { class: "tools", role: "group", "aria-label": "This picture" },
            element("button", table, "Table"), this.#save("SVG", () => pictureSVG(this.drawn)),
            this.#save("PNG", () => picturePNG(this.drawn)), this.#save("CSV", () => csv(this.rows)));
        const caption = element("div", { class: "caption" }, this.title, tools);
        this.element = element("figure", {}, caption, this.note, this.picture, this.table);
    }

    /** `picture`: an SVG or a canvas; `rows`: its numbers, the names of the columns first; `note`: how to read it. */
    show({ title, picture, rows, note = "" }) {
        Object.assign(this, { drawn: picture, rows });
        this.note.textContent = note;
        this.title.replaceChildren(...[title].flat());
        this.picture.replaceChildren(picture);
        if (!this.table.hidden) this.#fill();
    }

    /** Let the keyboard reach the picture, which moves or scrolls. */
    focusable(label) {
        this.picture.tabIndex = 0;
        this.picture.setAttribute("role", "group");
        this.picture.setAttribute("aria-label", label);
    }

    #save(ending, make) {
        const save = async () => download(`${this.name}.${ending.toLowerCase()}`, await make());
        return element("button", { type: "button", "aria-label": `Save as ${ending}`, click: save }, ending);
    }

    #toggle(button) {
        this.table.hidden = !this.table.hidden;
        this.picture.hidden = !this.table.hidden;
        button.setAttribute("aria-pressed", String(!this.table.hidden));
        if (!this.table.hidden) this.#fill();
    }

    #fill() {
        const [names, ...rows] = this.rows, text = (value) => element("bdi", {}, shown(value));
        const head = names.map((name) => element("th", { scope: "col" }, text(name)));
        const cells = (values) => values.map((value) => element("td", {}, text(value)));
        const name = (first) => element("th", { scope: "row" }, text(first));
        const row = ([first, ...values]) => element("tr", {}, name(first), cells(values));
        const body = element("tbody", {}, rows.map(row));
        this.table.replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, head)), body));
    }
}

const shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(DIGITS))) : words(value));

/** Visible, but with plain spaces between words. */
const words = (text) => visible(text).replace(/(?<=[^␣])␣(?=[^␣])/g, " ");

/** Several, whose number changes; what is shown as a table stays so. */
export class Figures {
    /** `scrolled`: what pictures are called for which the keyboard scrolls, if they may be wider than the page. */
    constructor(name, scrolled = "") {
        Object.assign(this, { name, scrolled, all: [], element: element("div", { class: "figures" }) });
    }

    /** What `Figure.show` takes, for each. */
    show(shown) {
        while (this.all.length < shown.length) this.all.push(this.#made());
        shown.forEach((each, i) => this.all[i].show(each));
        const wanted = this.all.slice(0, shown.length).map((figure) => figure.element);
        if (wanted.length !== this.element.children.length) this.element.replaceChildren(...wanted);
    }

    #made() {
        const figure = new Figure(this.name);
        if (this.scrolled) figure.focusable(this.scrolled);
        return figure;
    }
}
