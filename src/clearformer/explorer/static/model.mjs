/* The model, which computes in a worker, one task after the other.

       const model = await Model.open(run);                        // see run.mjs; its trained model, or a checkpoint
       const { rows } = await model.ask("outputs", { inputs }, signal);
       await model.at(checkpoint).ask("outputs", { inputs }, signal); // another checkpoint of the run

   tasks/all.mjs lists what can be asked. When a signal aborts, its task is dropped, and if it runs already it may end;
   a worker that takes a second more is stopped, and another begins. */

import { elementText, embedded } from "./run.mjs";

const PATIENCE = 1000; /* milliseconds for a task that nobody waits for */
const LONGEST = 60_000;

export class Model {
    /** `family`, `sizes`, `tokens`, the vocabulary as text, and `special`, ids by roles; opened from `run`, with the
        weights of `checkpoint`. A task may take `longest` milliseconds. */
    static async open(run, checkpoint = run.checkpoints.at(-1), longest = LONGEST) {
        const model = new Model(run, checkpoint, longest);
        try {
            return Object.assign(model, await model.#start());
        } catch (error) {
            model.close();
            throw error;
        }
    }

    constructor(run, checkpoint, longest) {
        Object.assign(this, { run, checkpoint, longest, waiting: [] });
    }

    /** What a task returns. Rejects with its error, or as soon as the signal aborts. */
    ask(task, values, signal) {
        return this.#request({ task, values }, signal);
    }

    #request(message, signal) {
        return new Promise((resolve, reject) => {
            if (signal?.aborted) return reject(signal.reason);
            const request = { message, resolve, reject };
            signal?.addEventListener("abort", () => this.#drop(request, signal.reason), { once: true });
            this.waiting.push(request);
            this.#next();
        });
    }

    /** The same with the weights of a checkpoint, which go to the worker once. */
    at(checkpoint) {
        if (checkpoint === this.checkpoint) return this;
        const { run } = this, id = run.checkpoints.indexOf(checkpoint);
        const ask = async (task, values, signal) => {
            const { sent } = this;
            const weights = sent.has(id) ? undefined : await run.weights(checkpoint);
            const found = await this.#request({ task, values, checkpoint: { id, weights } }, signal);
            sent.add(id);
            return found;
        };
        return { ask };
    }

    close() {
        this.worker?.terminate();
        URL.revokeObjectURL(this.address);
    }

    /** Begin a worker that opens the model; what it says about it. */
    async #start() {
        this.close();
        this.sent = new Set(); /* checkpoints that the worker has */
        this.address = URL.createObjectURL(new Blob([elementText("worker-source")], { type: "text/javascript" }));
        this.worker = new Worker(this.address);
        const { run } = this, weights = await run.weights(this.checkpoint);
        for (const { message: { checkpoint: other } } of this.waiting) /* a worker before this one had its weights */
            if (other) other.weights ??= await run.weights(run.checkpoints[other.id]);
        const { config, tokenizer, target, names } = run, engine = embedded("engine");
        const values = { engine, weights, config, tokenizer, target, names };
        const opened = new Promise((resolve, reject) => {
            this.running = { message: { task: "open", values }, resolve, reject };
        });
        this.worker.addEventListener("message", ({ data }) => this.#finish(data));
        this.worker.addEventListener("error", (event) => this.#finish({ error: `${event.message}; reload the page` }));
        this.worker.postMessage(this.running.message, [values.engine.buffer, weights.buffer]);
        return opened;
    }

    #next() {
        if (this.running || !this.waiting.length) return;
        this.running = this.waiting.shift();
        this.running.timer = setTimeout(() => this.#stop(), this.longest);
        this.worker.postMessage(this.running.message);
    }

    #finish({ found, error }) {
        const { timer, resolve, reject } = this.running;
        clearTimeout(timer);
        this.running = undefined;
        if (error === undefined) resolve(found);
        else reject(Error(error));
        this.#next();
    }

    #drop(request, reason) {
        request.reject(reason);
        this.waiting = this.waiting.filter((other) => other !== request);
        if (request !== this.running) return;
        clearTimeout(request.timer);
        request.timer = setTimeout(() => this.#stop(), PATIENCE);
    }

    async #stop() {
        const limit = this.longest / 1000;
        this.running.reject(Error(`an answer within ${limit} seconds was expected, found none; shorten the text`));
        try {
            await this.#start();
        } catch (error) {
            this.waiting.splice(0).forEach(({ reject }) => reject(error));
        }
    }
}
