/* A run's folder, chosen or dropped, as a run (run.mjs): clearformer/runs says what is in it. */

const STEP = /(^|\/)checkpoints\/step-(\d{6,})\/model\.safetensors$/;
const TARGET = "target_tokenizer.json"; /* where targets have pieces of their own */
const MOST_FILES = 10_000, MOST_CHECKPOINTS = 12;

/** From [{ path, file }]. Throws an Error if something is missing. */
export async function readFolder(files) {
    const config = await json(files, "config.json"), checkpoints = checkpointsOf(files);
    if (!checkpoints.length)
        throw Error("a checkpoint was expected in the run’s folder, found none; train the run first");
    const newest = checkpoints.slice(-(config.train?.average_checkpoints ?? 1)), { step } = newest.at(-1);
    const earlier = newest.length > 1 ? checkpoints : checkpoints.slice(0, -1); /* than the trained model */
    const { classes } = config.model?.kind === "classifier" ? await json(files, "data.json") : {};
    return {
        name: find(files, "config.json").path.split("/").at(-2) ?? "run",
        config,
        tokenizer: await find(files, "tokenizer.json").file.text(),
        target: has(files, TARGET) ? await find(files, TARGET).file.text() : "",
        names: config.tokenizer === "imported" ? await find(files, "special_tokens_map.json").file.text() : "",
        classes: Array.isArray(classes) ? classes.map(String) : [],
        metrics: await lines(files),
        example: "",
        precision: "single",
        checkpoints: [...some(earlier).map((each) => of(each.step, [each])), of(step, newest)],
        weights: async ({ files: all }) => mean(await Promise.all(all.map(bytesOf))),
    };
}

const of = (step, checkpoints) => ({ step, files: checkpoints.map(({ file }) => file) });

/** At most MOST_CHECKPOINTS, evenly chosen. */
const some = (checkpoints) => checkpoints.filter((_, i) => i % Math.ceil(checkpoints.length / MOST_CHECKPOINTS) === 0);

const bytesOf = async (file) => new Uint8Array(await file.arrayBuffer());

/** [{ step, file }], oldest first. */
function checkpointsOf(files) {
    const found = files.map(({ path, file }) => ({ file, step: Number(path.match(STEP)?.[2] ?? NaN) }));
    return found.filter(({ step }) => !Number.isNaN(step)).sort((a, b) => a.step - b.step);
}

const is = (name) => ({ path }) => path.split("/").at(-1) === name;

const has = (files, name) => files.some(is(name));

/** The file of that name that is nearest to the top: a run's own, not one of a folder in it. */
function find(files, name) {
    const depth = ({ path }) => path.split("/").length;
    const [found] = files.filter(is(name)).sort((a, b) => depth(a) - depth(b));
    if (!found) throw Error(`${name} was expected in the folder, found none; choose one that clearformer train wrote`);
    return found;
}

const json = async (files, name) => parse(await find(files, name).file.text(), name);

function parse(text, name) {
    try {
        return JSON.parse(text);
    } catch (error) {
        throw Error(`JSON was expected in ${name}, but: ${error.message}; copy the run again`);
    }
}

/** The lines of metrics.jsonl, of which the last may be incomplete; none if there is no such file. */
async function lines(files) {
    const found = files.find(({ path }) => path.endsWith("metrics.jsonl")), text = found ? await found.file.text() : "";
    return text.split("\n").slice(0, -1).map((line) => parse(line, "metrics.jsonl"));
}

/** Files of the same tensors with the mean of their numbers: the trained model may be that of several checkpoints. */
function mean([first, ...others]) {
    const start = 8 + Number(new DataView(first.buffer).getBigUint64(0, true)), { length } = first;
    if (!others.length || start > length) return first; /* the engine will say what is wrong with it */
    if (others.some((other) => other.length !== length))
        throw Error("checkpoints of one size were expected, found others; copy the run again");
    const views = [first, ...others].map((file) => new DataView(file.buffer, start)), made = first.slice();
    const out = new DataView(made.buffer, start), numbers = out.byteLength >> 2;
    for (let at = 0; at < 4 * numbers; at += 4)
        out.setFloat32(at, views.reduce((sum, view) => sum + view.getFloat32(at, true), 0) / views.length, true);
    return made;
}

/** The files of a drop, [{ path, file }]. */
export async function filesOfDrop({ items }) {
    const found = [], open = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry);
    while (open.length && found.length < MOST_FILES) {
        const entry = open.shift(), file = entry.isFile && (await new Promise((done, fail) => entry.file(done, fail)));
        if (file) found.push({ path: entry.fullPath, file });
        else open.push(...(await entriesOf(entry.createReader())));
    }
    return found;
}

/** A browser gives a folder's entries in parts, the last of which is empty. */
async function entriesOf(reader) {
    const all = [];
    for (;;) {
        const part = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!part.length) return all;
        all.push(...part);
    }
}
