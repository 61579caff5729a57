/* The views, in the order of their tabs. To add one, write a module in views/ and name it here:

       export const view = {
           name: "attend", title: "Attend",              // in the address, and on the tab
           answers: "Which tokens does a head look at?", // one sentence below the tab
           settings: { layer: 0 },                       // of its own in the state, with their defaults
           fits: (run) => true,                          // maybe: whether a run has this view
           render(host, state, model, page) {            // build elements in `host`, once, and return a function …
               return async (reading, signal) => {};     // … called whenever the text or a setting has changed
           },
       };

   `state` (address.mjs) has text, target, masked and all settings; state.set({ layer: 1 }) changes them, and calls that
   function again. `model` (model.mjs) computes: await model.ask(task, values, signal); tasks/all.mjs has the tasks, and
   `reading` (tasks/read.mjs) the tokens. What the function throws is shown as a sentence. A picture goes into a figure
   (figure.mjs), which can be saved and shown as a table. Settings of the same name are shared between views. `page` has
   all runs, the number of this one, and the signal `left`, which aborts when another view is shown. */

import { view as attend } from "./views/attend.mjs";
import { view as cut } from "./views/cut.mjs";
import { view as flow } from "./views/flow.mjs";
import { view as grok } from "./views/grok.mjs";
import { view as learn } from "./views/learn.mjs";
import { view as lens } from "./views/lens.mjs";
import { view as predict } from "./views/predict.mjs";
import { view as type } from "./views/type.mjs";

export const VIEWS = [grok, type, attend, predict, cut, lens, learn, flow];
