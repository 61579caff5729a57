/* What the page can ask of the worker: functions of (session, values), whose result is sent back. Typed arrays in it
   must be its own, since they move. To add one, write it in a module beside this one, and name it here; a session is
   what `open` returned. */

import { attention } from "./attention.mjs";
import { attribution } from "./attribution.mjs";
import { beam } from "./beam.mjs";
import { circles } from "./circles.mjs";
import { contributions } from "./contributions.mjs";
import { cut, sweep } from "./cut.mjs";
import { fill } from "./fill.mjs";
import { flow } from "./flow.mjs";
import { continuation, probabilities } from "./learning.mjs";
import { lens, norms } from "./lens.mjs";
import { next } from "./next.mjs";
import { operands } from "./operands.mjs";
import { outputs } from "./outputs.mjs";
import { read } from "./read.mjs";
import { reading } from "./reading.mjs";

export const TASKS = {
    read, outputs, attention, next, beam, fill, reading, cut, sweep, lens, norms, contributions, attribution,
    flow, continuation, probabilities, circles, operands,
};
