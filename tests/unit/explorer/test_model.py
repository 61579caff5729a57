"""The page's model: a task that takes too long is ended with its worker, and another worker goes on."""

import json
import shutil
import subprocess

import pytest

from clearformer.explorer.page import STATIC

SCRIPT = """
globalThis.document = { getElementById: () => ({ textContent: "" }) };
globalThis.Worker = class extends EventTarget {
    static begun = 0;
    static ended = 0;
    constructor() { super(); Worker.begun++; }
    terminate() { Worker.ended++; }
    postMessage({ task, checkpoint }) {
        const data = { found: { weights: checkpoint?.weights } };
        if (task !== "lost") queueMicrotask(() => this.dispatchEvent(new MessageEvent("message", { data })));
    }
};
const { Model } = await import("MODULE");
const run = { checkpoints: ["earlier", "trained"], weights: async (name) => ({ name }) };
const model = await Model.open(run, "trained", 20), earlier = model.at("earlier"), fail = ({ message }) => message;
const sent = await earlier.ask("read"), kept = await earlier.ask("read");
const lost = model.ask("lost").catch(fail), next = earlier.ask("read");
const answers = { sent, kept, lost: await lost, next: await next };
console.log(JSON.stringify({ ...answers, begun: Worker.begun, ended: Worker.ended }));
model.close();
"""


def test_a_task_that_takes_too_long_fails_in_a_sentence_and_another_worker_answers_the_next():
    if shutil.which("node") is None:
        pytest.skip("Node was expected, found none; install nodejs")
    script = SCRIPT.replace("MODULE", (STATIC / "model.mjs").as_uri())
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sent": {"weights": {"name": "earlier"}},
        "kept": {},  # as the worker has them
        "lost": "an answer within 0.02 seconds was expected, found none; shorten the text",
        "next": {"weights": {"name": "earlier"}},  # as the second worker has none
        "begun": 2,
        "ended": 1,
    }
