/* What the page can ask of the worker: functions of (session, values), whose result is sent back; typed arrays in it must
   be of its own, as they move. To add one, write it in a module beside this one, and name it here; a session is what
   open.mjs returns. */

import { attention } from "./attention.mjs";
import { beam } from "./beam.mjs";
import { flow } from "./flow.mjs";
import { continuation, probabilities } from "./learning.mjs";
import { next } from "./next.mjs";
import { open } from "./open.mjs";
import { outputs } from "./outputs.mjs";
import { read } from "./read.mjs";
import { reading } from "./reading.mjs";

export const TASKS = { open, read, outputs, attention, next, beam, reading, flow, continuation, probabilities };
