/* The page: a run of those that it holds, or one that is opened from its folder, in a workbench. */

import { State, placeIn } from "./address.mjs";
import { element } from "./dom.mjs";
import { Model } from "./model.mjs";
import { opener } from "./opener.mjs";
import { embeddedRuns } from "./run.mjs";
import { printable } from "./visible.mjs";
import { Workbench } from "./workbench.mjs";

const START = "Open a run that clearformer train wrote, and see what its model computes while you type.";
const page = document.getElementById("page"), runs = embeddedRuns(), open = opener((run) => show(runs.push(run) - 1));
let workbench, newest; /* the run that was asked for last */

async function show(index) {
    workbench?.close();
    const run = (newest = runs[index]), about = (role, words) => element("p", { class: "notice", role }, words);
    page.replaceChildren(about("status", `Opening ${printable(run.name)} …`));
    try {
        const model = await Model.open(run);
        if (run !== newest) return model.close();
        workbench = new Workbench(model, { runs, index, show, open });
        page.replaceChildren(workbench.element);
        document.title = `${printable(run.name)} · clearformer`;
    } catch (error) {
        if (run !== newest) return;
        page.replaceChildren(element("main", { class: "start" }, about("alert", printable(error.message)), open));
    }
}

function start() {
    const state = new State({ run: 0 }, () => {});
    state.close();
    if (runs.length) return show(placeIn(runs.length, state.run));
    page.replaceChildren(element("main", { class: "start" },
        element("h1", {}, "clearformer"), element("p", {}, START), open));
}

start();
