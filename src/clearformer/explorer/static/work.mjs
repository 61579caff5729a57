/* Long work in steps: a box to tick, which says how far it is; without the tick it stops. */

import { controls } from "./controls.mjs";
import { element } from "./dom.mjs";
import { printable } from "./visible.mjs";

const PAUSE = 250; /* milliseconds without anything newer, before it begins */

/** Resolves if nothing newer is asked for a while, else rejects. */
export async function pause(signal) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    signal.throwIfAborted();
}

export class Work {
    /** `setting`: the name of a boolean in the state; `label`: what the work is; `shown`: what shows the results. */
    constructor(state, setting, label, shown) {
        Object.assign(this, { state, setting, shown, tick: controls(state, [{ name: setting, label }]) });
        this.status = element("small");
        this.failed = element("span", { class: "error", role: "alert" });
        this.tick.element.append(this.status, this.failed);
        this.element = this.tick.element;
    }

    /** What the steps return, or undefined if the work stops, or something newer is asked. Work of the same `key` is
        not done again. */
    async run(key, steps, signal) {
        this.tick.show();
        this.#say();
        this.shown.removeAttribute("aria-busy");
        if (!this.state[this.setting]) return undefined;
        if (this.key === key) return this.found;
        const found = [];
        try {
            this.shown.setAttribute("aria-busy", "true");
            await pause(signal);
            for (const step of steps) {
                this.#say(`${found.length} of ${steps.length} …`);
                found.push(await step());
            }
            Object.assign(this, { key, found });
            this.#say();
            return found;
        } catch (error) {
            if (!signal.aborted) this.#say("", printable(error.message));
            return undefined;
        } finally {
            if (!signal.aborted) this.shown.removeAttribute("aria-busy");
        }
    }

    #say(status = "", failed = "") {
        this.status.textContent = status;
        this.failed.textContent = failed;
    }
}
