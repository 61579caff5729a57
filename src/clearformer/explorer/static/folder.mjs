/* A run's folder, chosen or dropped, as a run (run.mjs): clearformer/runs says what is in it. */

const STEP = /(^|\/)checkpoints\/step-(\d{6,})\/model\.safetensors$/;
const MOST_FILES = 10_000;

/** From [{ path, file }]. Throws an Error if something is missing. */
export async function readFolder(files) {
    const config = await json(files, "config.json"), checkpoints = files.map(({ path, file }) => ({ file, found: path.match(STEP) }))
        .filter(({ found }) => found).map(({ file, found }) => ({ step: Number(found[2]), file })).sort((a, b) => a.step - b.step);
    if (!checkpoints.length) throw Error("a checkpoint was expected in the run’s folder, found none; train the run first");
    const count = config.train?.average_checkpoints ?? 1, newest = checkpoints.slice(-count);
    const data = config.model?.kind === "classifier" ? await json(files, "data.json") : {};
    return {
        name: find(files, "config.json").path.split("/").at(-2) ?? "run",
        config,
        tokenizer: await find(files, "tokenizer.json").file.text(),
        classes: Array.isArray(data.classes) ? data.classes.map(String) : [],
        metrics: await lines(files),
        example: "",
        precision: "single",
        trained: { step: checkpoints.at(-1).step, of: newest },
        checkpoints: checkpoints.map(({ step, file }) => ({ step, of: [{ file }] })),
        weights: async ({ of }) => mean(await Promise.all(of.map(async ({ file }) => new Uint8Array(await file.arrayBuffer())))),
    };
}

/** The file of that name that is nearest to the top: a run's own, not one of a folder in it. */
function find(files, name) {
    const found = files.filter(({ path }) => path.split("/").at(-1) === name)
        .sort((a, b) => a.path.split("/").length - b.path.split("/").length)[0];
    if (!found) throw Error(`a run’s folder was expected, with ${name} in it, found none; choose the folder that clearformer train wrote`);
    return found;
}

async function json(files, name) {
    const { file } = find(files, name);
    try {
        return JSON.parse(await file.text());
    } catch (error) {
        throw Error(`JSON was expected in ${name}, but: ${error.message}; copy the run again`);
    }
}

/** The lines of metrics.jsonl, of which the last may be incomplete; none if there is no such file. */
async function lines(files) {
    const found = files.find(({ path }) => path.endsWith("metrics.jsonl"));
    const text = found ? await found.file.text() : "";
    return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** Files of the same tensors with the mean of their numbers: the trained model may be that of several checkpoints. */
function mean(files) {
    const [first, ...others] = files;
    if (!others.length) return first;
    const start = 8 + Number(new DataView(first.buffer).getBigUint64(0, true)), made = first.slice(), out = new DataView(made.buffer, start);
    const views = files.map((file) => new DataView(file.buffer, start));
    for (let at = 0; at + 4 <= out.byteLength; at += 4)
        out.setFloat32(at, views.reduce((sum, view) => sum + view.getFloat32(at, true), 0) / views.length, true);
    return made;
}

/** The files of a drop, [{ path, file }]. */
export async function filesOfDrop({ items }) {
    const found = [], open = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry);
    while (open.length && found.length < MOST_FILES) {
        const entry = open.shift();
        if (entry.isFile) found.push({ path: entry.fullPath, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
        else open.push(...(await entriesOf(entry.createReader())));
    }
    return found;
}

/** A browser gives a folder's entries in parts. */
async function entriesOf(reader) {
    const all = [];
    for (let part; part?.length !== 0; all.push(...part)) part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    return all;
}
