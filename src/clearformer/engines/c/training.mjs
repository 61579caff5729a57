/* Training, without dropout: the loss, the gradients of all parameters, and AdamW; training.c and optimizer.c compute.

       const trainer = new Trainer(model);
       const { loss, norm } = trainer.step([{ inputs: [5, 6, 7], targets: [6, 7, 8] }], { rate: 1e-3 });
       trainer.free(); */

import { isList, readInputs, textsOf } from "./inputs.mjs";
import { tensorsOf } from "./tensors.mjs";
import { LOSS, TRAINING } from "./transformer.mjs";

export const IGNORE = -100; /* the target of a token without a loss */

/** A model's gradients and AdamW's averages. Batches are { inputs, targets }: a target for each token of the texts, or
    of a classifier without `tokenLoss` one for each text. */
export class Trainer {
    constructor(model) {
        Object.assign(this, { model, steps: 0 }, model.memory.hold((scope) => {
            const parts = tensorsOf(model, scope).map((tensor) => {
                const zeros = new Float32Array(tensor.size);
                const [gradient, mean, square] = [0, 1, 2].map(() => scope.copy(zeros));
                return { ...tensor, gradient, mean, square };
            });
            const rows = parts.map(({ text, shape, gradient }) => [text, shape[0], shape[1] ?? 0, gradient]);
            const slopes = scope.take(Number(model.c.model_bytes(model.at)));
            model.c.find_model(model.at, slopes, scope.table("tensor", rows), BigInt(rows.length), model.fault);
            return { parts, slopes };
        }));
    }

    free() {
        this.scope.end();
    }

    /** Mean nats of each target. */
    loss(batches, settings = {}) {
        return this.#run(batches, settings, LOSS);
    }

    /** The same, and the gradients from then on. */
    backward(batches, settings = {}) {
        for (const { gradient, size } of this.parts) this.model.memory.floats(gradient, size).fill(0);
        return this.#run(batches, settings, TRAINING);
    }

    /** All parameters by name. */
    weights() {
        return this.#arrays(({ at }) => at);
    }

    /** Their gradients. */
    gradients() {
        return this.#arrays(({ gradient }) => gradient);
    }

    #arrays(where) {
        return Object.fromEntries(this.parts.map((part) => [part.name, this.model.array(part.shape, where(part))]));
    }

    /** One update; the loss before it, and the gradients' norm before it was limited to `clip`. */
    step(batches, { rate = 1e-3, beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, decay = 0, clip = 0, ...settings }) {
        const { model, parts } = this, loss = this.backward(batches, settings), norm = this.#clip(clip);
        if (!Number.isFinite(loss) || !Number.isFinite(norm))
            throw Error(`a finite loss and gradient were expected, found ${loss} and ${norm}; lower the rate`);
        this.steps += 1;
        const correction = 1 / Math.sqrt(1 - beta2 ** this.steps), share = rate / (1 - beta1 ** this.steps);
        model.memory.within((scope) => {
            const table = scope.table("update", parts.map(({ shape, size, at, gradient, mean, square }) =>
                [size, at, gradient, mean, square, shape.length > 1 ? 1 - rate * decay : 1, correction, share]));
            model.c.adamw(BigInt(parts.length), table, 1 - beta1, 1 - beta2, epsilon);
        });
        return { loss, norm };
    }

    #run(batches, settings, purpose) {
        if (!Array.isArray(batches) || !batches.every((batch) => isList(batch?.targets)))
            throw Error("an array of { inputs, targets } was expected, found something else; give one");
        const all = batches.flatMap(({ targets }) => [...targets].map((row) => (isList(row) ? [...row] : row))).flat();
        const number = all.filter((target) => target !== IGNORE).length;
        if (!number) throw Error("at least one target was expected, found none; give batches with targets");
        return batches.reduce((sum, batch) => sum + this.#summed(batch, number, settings, purpose) / number, 0);
    }

    /** The summed loss of a batch, and its share of the gradients. */
    #summed({ inputs, targets }, number, { smoothing = 0, tokenLoss = false }, purpose) {
        const { model } = this;
        return model.memory.within((scope) => {
            const given = readInputs(model, scope, inputs), room = model.room(scope, given, { purpose });
            const goals = scope.copy(targetsOf(model, targets, given, tokenLoss));
            const objective = scope.struct("objective", goals, 1 / number, smoothing, Number(tokenLoss));
            const slopes = purpose === TRAINING ? this.slopes : 0;
            return model.c.loss_of(model.at, slopes, given.at, given.source?.at ?? 0, objective, room);
        });
    }

    /** Limit the norm of all gradients, 0: not. Returns what it was. */
    #clip(most) {
        const all = this.parts.map(({ gradient, size }) => this.model.memory.floats(gradient, size));
        const norm = Math.sqrt(all.reduce((sum, g) => g.reduce((a, x) => a + x * x, sum), 0));
        if (most > 0 && norm > most) for (const g of all) g.forEach((x, i) => (g[i] = x * (most / (norm + 1e-6))));
        return norm;
    }
}

/** Targets [B, T], or [B] of a classifier's texts, as C reads them. */
function targetsOf({ family, sizes }, targets, { B, T, lengths }, tokenLoss) {
    const classifies = family === "classifier", one = classifies && !tokenLoss, limit = classifies ? sizes.C : sizes.V;
    const rows = one ? [...targets].map((target) => [target]) : textsOf(targets, "targets"), width = one ? 1 : T;
    if (rows.length !== B || rows.some((row, i) => row.length !== (one ? 1 : lengths[i])))
        throw Error(`a target for each ${one ? "text" : "token"} was expected, found more or fewer; give both alike`);
    const out = new BigInt64Array(B * width).fill(BigInt(IGNORE));
    rows.forEach((row, i) => row.forEach((target, j) => {
        if (target !== IGNORE && !(Number.isInteger(target) && target >= 0 && target < limit))
            throw Error(`targets from 0 to ${limit - 1}, or ${IGNORE}, were expected, found ${target}; change it`);
        out[i * width + j] = BigInt(target);
    }));
    return out;
}
