/* A run as the page has it: name, config, tokenizer (the text of its file), target (that of target_tokenizer.json, ""
   if there is none), names (that of special_tokens_map.json, "" of a tokenizer that was not imported), classes, metrics, example, precision;
   grokking, what explorer/grokking.py measured of a run that learned arithmetic; checkpoints, each with its step, of
   which the last is the trained model; and weights(checkpoint), the bytes of a safetensors file. explorer/contents.py
   writes those that are in the page. */

import { single } from "./half.mjs";

export function embeddedRuns() {
    return JSON.parse(elementText("runs")).map((run, number) => ({
        ...run,
        weights: async (checkpoint) => {
            const bytes = embedded(`weights-${number}-${checkpoint.weights}`);
            return run.precision === "half" ? single(bytes) : bytes;
        },
    }));
}

/** What its checkpoints are called. */
export const checkpointNames = ({ checkpoints }) =>
    checkpoints.map(({ step }) => (step ? `step ${step.toLocaleString("en")}` : "untrained"));

export const elementText = (id) => document.getElementById(id).textContent;

/** The bytes in an element as base64. */
export function embedded(id) {
    const text = elementText(id);
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const chars = atob(text), bytes = new Uint8Array(chars.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = chars.charCodeAt(i);
    return bytes;
}
