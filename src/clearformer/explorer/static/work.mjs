/* Long work in steps: a box to tick, which says how far it is; without the tick it stops. */

import { controls } from "./controls.mjs";
import { element } from "./dom.mjs";

export class Work {
    /** `setting`: the name of a boolean in the state; `label`: what the work is; `shown`: what shows the results. */
    constructor(state, setting, label, shown) {
        Object.assign(this, { state, setting, shown, tick: controls(state, [{ name: setting, label }]), status: element("span", { role: "status" }) });
        this.tick.element.append(this.status);
        this.element = this.tick.element;
    }

    /** What the steps return, or undefined if the work stops, or something newer is asked. Work of the same `key` is not
        done again. */
    async run(key, steps, signal) {
        this.tick.show();
        this.status.textContent = "";
        if (!this.state[this.setting]) return undefined;
        if (this.key === key) return this.found;
        const found = [];
        try {
            this.shown.setAttribute("aria-busy", "true");
            for (const step of steps) {
                this.status.textContent = `${found.length} of ${steps.length} …`;
                found.push(await step());
            }
            Object.assign(this, { key, found });
            this.status.textContent = "";
            return found;
        } catch (error) {
            if (!signal.aborted) this.status.textContent = error.message;
            return undefined;
        } finally {
            if (!signal.aborted) this.shown.removeAttribute("aria-busy");
        }
    }
}
