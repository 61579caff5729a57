/* One run at work: what is typed, the tabs, and a view of it. */

import { State } from "./address.mjs";
import { element, roving } from "./dom.mjs";
import { MOST, fields } from "./fields.mjs";
import { facts } from "./facts.mjs";
import { VIEWS } from "./views.mjs";

export class Workbench {
    constructor(model, { runs, number: index, show, open }) {
        this.model = model;
        this.views = VIEWS.filter(({ suits }) => suits(model.family));
        const settings = Object.assign({}, ...this.views.map((view) => view.settings));
        const defaults = { run: 0, view: this.views[0].name, text: model.run.example, target: "", masked: "", ...settings };
        this.state = new State(defaults, (names) => this.#changed(names));
        this.fields = fields(this.state, model.family);
        this.notes = element("div", { class: "notes", "aria-live": "polite" });
        this.failed = element("p", { class: "error", role: "alert" });
        this.host = element("section", { class: "view", "aria-labelledby": "view-title" });
        this.tabs = element("nav", { "aria-label": "Views" });
        this.element = element("div", { class: "workbench" },
            element("header", {}, facts(model, { runs, index, show, open })),
            element("main", {}, this.fields.element, this.notes, this.tabs, this.failed, this.host));
        this.#show();
        this.state.set({ run: index });
    }

    close() {
        this.state.close();
        this.work?.abort(stopped);
        this.model.close();
    }

    #changed(names) {
        this.fields.show();
        if (names.includes("view")) this.#show();
        else this.#refresh();
    }

    /** Build the view that the state names. */
    #show() {
        const view = this.views.find(({ name }) => name === this.state.view) ?? this.views[0];
        const buttons = this.views.map(({ name, title }) => element("button", {
            type: "button", "aria-current": name === view.name && "page", click: () => this.state.set({ view: name }),
        }, title));
        const focused = this.tabs.contains(document.activeElement);
        this.tabs.replaceChildren(...buttons);
        roving(this.tabs);
        if (focused) this.tabs.querySelector("[aria-current]").focus();
        this.host.replaceChildren(element("h2", { id: "view-title" }, view.answers));
        const body = element("div", { class: `view-${view.name}` });
        this.host.append(body);
        this.update = view.render(body, this.state, this.model);
        this.#refresh();
    }

    /** Read the text and update the view; a newer call ends an older one. */
    async #refresh() {
        this.work?.abort(stopped);
        const { signal } = (this.work = new AbortController()), { state, model } = this;
        this.host.setAttribute("aria-busy", "true");
        try {
            const masked = state.masked.split(",").filter(Boolean).map(Number), before = this.reading?.texts[0].ids;
            const [text, target] = [state.text, state.target].map((typed) => typed.slice(0, MOST));
            const reading = await model.ask("read", { text, target, masked, before }, signal);
            this.reading = reading;
            if (reading.masked) state.set({ masked: reading.masked.join(",") });
            if (signal.aborted) return;
            this.fields.placeholder(reading);
            this.notes.replaceChildren(...reading.notes.map((note) => element("p", {}, note)));
            this.host.hidden = !reading.texts[0].ids.length;
            if (this.host.hidden) this.notes.append(element("p", {}, "Type a text."));
            else await this.update(reading, signal);
            if (!signal.aborted) this.failed.textContent = "";
        } catch (error) {
            if (error !== stopped) this.failed.textContent = error.message;
        } finally {
            if (!signal.aborted) this.host.setAttribute("aria-busy", "false");
        }
    }
}

const stopped = new DOMException("something newer was asked", "AbortError");
