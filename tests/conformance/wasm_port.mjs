/* What wasm_port.py asks of models in WebAssembly: a line of JSON in, a line out; float32 numbers travel as base64. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = process.argv[2], load = (name) => import(pathToFileURL(join(folder, name)));
const { instantiate } = await load("transformer.mjs"), { Trainer } = await load("training.mjs");
const engine = await instantiate(readFileSync(join(folder, "transformer.wasm")));
const models = [], trainers = [];

const ACTIONS = {
    load: ({ weights, config }) => models.push(engine.load(Buffer.from(weights, "base64"), config)) - 1,
    run: ({ model, inputs }) => models[model].run(inputs),
    generate: ({ model, inputs, options }) => [...models[model].generate(inputs, options)],
    translate: ({ model, sources, options }) => models[model].translate(sources, options),
    gradients: ({ model, batches, settings }) => {
        const loss = trainer(model).backward(batches, settings);
        return { loss, gradients: trainer(model).gradients() };
    },
    step: ({ model, batches, settings }) => trainer(model).step(batches, settings),
    weights: ({ model }) => trainer(model).weights(),
};

function free(model) {
    trainers[model]?.free();
    models[model].free();
    delete trainers[model];
    delete models[model];
}

const trainer = (model) => (trainers[model] ??= new Trainer(models[model]));
const written = (_, value) => (value instanceof Float32Array ? Buffer.from(value.buffer).toString("base64") : value);

for await (const line of createInterface({ input: process.stdin })) {
    const { action, unused, ...values } = JSON.parse(line);
    let answer;
    try {
        unused.forEach(free);
        answer = { found: ACTIONS[action](values) };
    } catch (error) {
        answer = { error: error.stack };
    }
    process.stdout.write(`${JSON.stringify(answer, written)}\n`);
}
