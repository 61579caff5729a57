/* One run at work: what is typed, the tabs, and a view of it. */

import { State } from "./address.mjs";
import { element, roving } from "./dom.mjs";
import { facts } from "./facts.mjs";
import { fields, readable } from "./fields.mjs";
import { VIEWS } from "./views.mjs";
import { printable } from "./visible.mjs";

const stopped = new DOMException("something newer was asked", "AbortError");

export class Workbench {
    /** `index` of the model's run among `runs`; `show` shows another of them, `open` opens one. */
    constructor(model, { runs, index, show, open }) {
        Object.assign(this, { model, runs, index });
        this.views = VIEWS.filter(({ fits }) => fits?.(model.run) ?? true);
        const common = { run: 0, view: this.views[0].name, text: model.run.example, target: "", masked: "" };
        const settings = Object.assign(common, ...VIEWS.map((view) => view.settings));
        this.state = new State(settings, (names) => this.#changed(names));
        this.fields = fields(this.state, model.family);
        this.notes = element("div", { class: "notes", "aria-live": "polite" });
        this.failed = element("p", { class: "error", role: "alert" });
        this.host = element("section", { class: "view", "aria-labelledby": "view-title" });
        this.tabs = element("nav", { "aria-label": "Views" });
        const main = element("main", {}, this.fields.element, this.notes, this.tabs, this.failed, this.host);
        this.element = element("div", { class: "workbench" }, facts(model, { runs, index, show, open }), main);
        const shades = matchMedia("(prefers-color-scheme: dark)"); /* pictures have them as numbers */
        shades.addEventListener("change", () => this.#refresh(), { signal: this.state.open.signal });
        this.#show();
        this.state.set({ run: index });
    }

    close() {
        this.state.close();
        this.work.abort(stopped);
        this.left.abort();
        this.model.close();
    }

    #changed(names) {
        this.fields.show();
        if (names.includes("view")) this.#show();
        else this.#refresh();
    }

    /** Build the view that the state names. */
    #show() {
        const { views } = this, view = views.find(({ name }) => name === this.state.view) ?? views[0];
        const focused = this.tabs.contains(document.activeElement);
        this.tabs.replaceChildren(...views.map(({ name, title }) => element("button", {
            type: "button", "aria-current": name === view.name && "page", click: () => this.state.set({ view: name }),
        }, title)));
        roving(this.tabs);
        if (focused) this.tabs.querySelector("[aria-current]").focus();
        const body = element("div", { class: `view-${view.name}` });
        this.host.replaceChildren(element("h2", { id: "view-title" }, view.answers), body);
        this.left?.abort();
        this.left = new AbortController();
        const page = { runs: this.runs, index: this.index, left: this.left.signal };
        this.update = view.render(body, this.state, this.model, page);
        this.#refresh();
    }

    /** Read the text and update the view; a newer call ends an older one. */
    async #refresh() {
        this.work?.abort(stopped);
        const { signal } = (this.work = new AbortController());
        this.host.setAttribute("aria-busy", "true");
        try {
            const reading = await this.#read(signal), empty = !reading.texts[0].ids.length;
            this.fields.placeholder(reading);
            const notes = empty ? ["Type a text."] : reading.notes;
            this.notes.replaceChildren(...notes.map((note) => element("p", {}, note)));
            this.host.hidden = empty;
            if (!empty) await this.update(reading, signal);
            this.failed.textContent = "";
        } catch (error) {
            if (error !== stopped) this.failed.textContent = printable(error.message);
        }
        if (!signal.aborted) this.host.setAttribute("aria-busy", "false");
    }

    /** What is typed, as tokens; places that are hidden move with their tokens. */
    async #read(signal) {
        const { state, model, reading: last } = this, masked = state.masked.split(",").filter(Boolean).map(Number);
        const [text, target] = [state.text, state.target].map(readable);
        const reading = await model.ask("read", { text, target, masked, before: last?.texts[0].ids }, signal);
        this.reading = reading;
        if (reading.masked) state.set({ masked: reading.masked.join(",") });
        signal.throwIfAborted();
        return reading;
    }
}
