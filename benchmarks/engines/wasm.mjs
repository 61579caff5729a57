/* Measures one model in WebAssembly, for wasm.py: milliseconds, the median and the least of all rounds. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [engineFolder, modelFolder, rounds] = process.argv.slice(2);
const { instantiate } = await import(pathToFileURL(join(engineFolder, "transformer.mjs")));
const engine = await instantiate(readFileSync(join(engineFolder, "transformer.wasm")));
const config = JSON.parse(readFileSync(join(modelFolder, "config.json"), "utf8"));
const model = engine.load(readFileSync(join(modelFolder, "model.safetensors")), config);
const text = Array.from({ length: model.sizes.context }, (_, i) => (i * 31) % model.sizes.V);

const measure = (work) => {
    const times = Array.from({ length: Number(rounds) }, () => {
        const start = performance.now();
        work();
        return performance.now() - start;
    });
    const [first] = times, sorted = [...times].sort((a, b) => a - b);
    return { first, median: sorted[sorted.length >> 1], least: sorted[0] };
};
const tokens = model.generate(text.slice(0, 32), { slide: true });
const results = {
    run: measure(() => model.run(text)),
    keep: measure(() => model.keep(undefined, text)),
    token: measure(() => tokens.next()),
};
console.log(JSON.stringify(results));
