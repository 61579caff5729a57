/* The worker: it holds the model, and answers { task, values } with { found } or { error }, a sentence. With
   { checkpoint } it computes with the weights of another checkpoint of the run: tasks/checkpoint.mjs. */

import { open } from "./tasks/open.mjs";
import { TASKS } from "./tasks/all.mjs";
import { checkpointOf } from "./tasks/checkpoint.mjs";

let session; /* what `open` returned, for all tasks */

self.addEventListener("message", async ({ data: { task, values, checkpoint } }) => {
    try {
        if (task === "open") session = await open(values);
        const used = checkpoint ? checkpointOf(session, checkpoint) : session;
        const found = task === "open" ? session.about : TASKS[task](used, values);
        self.postMessage({ found }, [...new Set(buffers(found))]);
    } catch (error) {
        const engine = error instanceof WebAssembly.RuntimeError;
        self.postMessage({ error: engine ? `the engine failed: ${error.message}; reload the page` : error.message });
    }
});

/** The memory of all large arrays in a result, which moves to the page without a copy. */
function* buffers(value) {
    if (ArrayBuffer.isView(value)) yield value.buffer;
    else if (Array.isArray(value) || value?.constructor === Object)
        for (const part of Object.values(value)) yield* buffers(part);
}
