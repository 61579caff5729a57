/* The second run: which one it is, and its side. */

import { list } from "../../controls.mjs";
import { element, replace } from "../../dom.mjs";
import { Model } from "../../model.mjs";
import { folderButton } from "../../opener.mjs";
import { printable } from "../../visible.mjs";
import { Side } from "./side.mjs";

export class Beside {
    /** Among all `runs`, of which number `index` is the first one. */
    constructor(state, { runs, index, left }) {
        Object.assign(this, { state, runs, index });
        this.choice = element("div");
        const open = folderButton((run) => this.#show(runs.push(run) - 1));
        this.element = element("div", { class: "beside" }, element("h3", {}, "Beside another run"), this.choice, open);
        left.addEventListener("abort", () => this.#close());
    }

    /** A promise of the side of the run that the state names, undefined if it names none. */
    update() {
        const run = this.runs[this.state.beside];
        this.#list();
        if (this.run === run) return this.side;
        this.#close();
        this.run = run;
        this.side = run && Model.open(run).then((model) => new Side(this.state, model, "checkpointBeside"));
        return this.side;
    }

    /** Also what is still being opened. */
    #close() {
        this.side?.then(({ model }) => model.close(), () => {});
    }

    #show(number) {
        this.state.set({ beside: number, checkpointBeside: -1 });
    }

    #list() {
        const { state, runs, index } = this, named = runs.map(({ name }, i) => [String(i), printable(name)]);
        const options = [["-1", "none"], ...named.filter((_, i) => i !== index)];
        const chosen = runs[state.beside] ? String(state.beside) : "-1";
        const make = () => list("Run", { options }, chosen, (value) => this.#show(Number(value))).element;
        replace(this.choice, ...(runs.length > 1 ? [make()] : []));
    }
}
