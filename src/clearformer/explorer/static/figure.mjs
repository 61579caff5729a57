/* A picture that can be saved, and shown as a table. */

import { element } from "./dom.mjs";
import { csv, download, picturePNG, pictureSVG } from "./export.mjs";
import { visible } from "./visible.mjs";

export class Figure {
    /** `name`: of the files that it is saved to. */
    constructor(name) {
        this.title = element("figcaption");
        this.note = element("p", { class: "muted" });
        this.picture = element("div", { class: "picture" });
        this.table = element("div", { class: "table", hidden: true, tabindex: "0" });
        const save = (ending, make) => element("button", {
            type: "button", "aria-label": `Save as ${ending}`, click: async () => download(`${name}.${ending.toLowerCase()}`, await make()),
        }, ending);
        const toggle = element("button", { type: "button", "aria-pressed": "false", click: () => this.#toggle(toggle) }, "Table");
        const tools = element("div", { class: "tools", role: "group", "aria-label": "This picture" }, toggle,
            save("SVG", () => pictureSVG(this.drawn)), save("PNG", () => picturePNG(this.drawn)), save("CSV", () => csv(this.rows)));
        this.element = element("figure", {}, element("div", { class: "caption" }, this.title, tools), this.note, this.picture, this.table);
    }

    /** `picture`: an SVG or a canvas; `rows`: its numbers, the names of the columns first; `note`: how to read it. */
    show(title, picture, rows, note = "") {
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

    #toggle(button) {
        this.table.hidden = !this.table.hidden;
        this.picture.hidden = !this.table.hidden;
        button.setAttribute("aria-pressed", String(!this.table.hidden));
        if (!this.table.hidden) this.#fill();
    }

    #fill() {
        const [names, ...rows] = this.rows, shown = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : words(value));
        this.table.replaceChildren(element("table", {},
            element("thead", {}, element("tr", {}, names.map((name) => element("th", { scope: "col" }, element("bdi", {}, words(name)))))),
            element("tbody", {}, rows.map((row) => element("tr", {}, row.map((value, i) =>
                element(i ? "td" : "th", { scope: i ? null : "row" }, element("bdi", {}, shown(value)))))))));
    }
}

/** Visible, but with plain spaces between words. */
const words = (text) => visible(text).replace(/(?<=[^␣])␣(?=[^␣])/g, " ");

/** Several, whose number changes; what is shown as a table stays so. */
export class Figures {
    constructor(name) {
        Object.assign(this, { name, all: [], element: element("div", { class: "figures" }) });
    }

    /** `shown`: [{ title, picture, rows, note }]. */
    show(shown) {
        while (this.all.length < shown.length) this.all.push(new Figure(this.name));
        shown.forEach(({ title, picture, rows, note }, i) => this.all[i].show(title, picture, rows, note));
        const wanted = this.all.slice(0, shown.length).map((figure) => figure.element);
        if (wanted.length !== this.element.children.length) this.element.replaceChildren(...wanted);
    }
}
