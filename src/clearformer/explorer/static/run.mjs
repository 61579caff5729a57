/* A run as the page has it: name, config, tokenizer, classes, metrics, example, checkpoints { step, weights }, of which the
   last is the trained model, and weights(checkpoint), the bytes of a safetensors file. explorer/contents.py writes it. */

import { single } from "./half.mjs";

/** The runs that the page holds. */
export function embeddedRuns() {
    return JSON.parse(elementText("runs")).map((run, number) => ({
        ...run,
        weights: async ({ weights }) => {
            const bytes = embedded(`weights-${number}-${weights}`);
            return run.precision === "half" ? single(bytes) : bytes;
        },
    }));
}

export const elementText = (id) => document.getElementById(id).textContent;

/** The bytes in an element as base64. */
export function embedded(id) {
    const text = elementText(id);
    return Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
