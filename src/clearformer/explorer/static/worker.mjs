/* The worker: it holds the model, and answers { task, values } with { found } or { error }, a sentence. */

import { TASKS } from "./tasks/all.mjs";

let session; /* of the task "open", for all others */

self.addEventListener("message", async ({ data: { task, values } }) => {
    try {
        if (task === "open") ({ session } = await TASKS.open(values));
        const found = task === "open" ? session.about : await TASKS[task](session, values);
        self.postMessage({ found }, [...new Set(buffers(found))]);
    } catch (error) {
        const failed = error instanceof WebAssembly.RuntimeError;
        self.postMessage({ error: failed ? `an answer of the engine was expected, but: ${error.message}; reload the page` : error.message });
    }
});

/** The memory of all large arrays in a result, which moves to the page without a copy. */
function* buffers(value) {
    if (ArrayBuffer.isView(value)) yield value.buffer;
    else if (Array.isArray(value) || value?.constructor === Object) for (const part of Object.values(value)) yield* buffers(part);
}
