"""What the page's worker computes of a model's inside is what `inspection` does in PyTorch, for every variant."""

import json
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from clearformer.config import Config
from clearformer.engines.c.library import FOLDER as ENGINE
from clearformer.explorer.page import STATIC
from clearformer.inspection.attribution import integrated_gradients
from clearformer.inspection.contributions import contributions
from clearformer.inspection.lens import logit_lens

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4
"""of the spread of the numbers; float32 in another order makes 3e-6"""
VARIANTS = [
    {},
    {"head_width": 3},
    {"norm": "rms", "bias": False, "activation": "swiglu", "norm_order": "post", "positions": "relative"},
    {"num_kv_heads": 1, "positions": "rotary", "tie_embeddings": False, "scale_embeddings": True, "norm_order": "pre"},
    {"positions": "alibi", "window": 3, "qk_norm": True, "ngram_buckets": 5, "logit_cap": 2.0, "norm_order": "pre"},
]
NO_NORM = {"norm": "none", "num_layers": 1, "scale_embeddings": False}
"""small, since what no norm holds grows, and rounding with it"""
FAMILIES = [
    ("gpt", {}), ("transformer", {}), ("bert", {"segments": 2}),
    ("classifier", {"pooling": "first"}), ("classifier", {"pooling": "mean"}),
    ("classifier", {"body": "gpt", "pooling": "last"}),
]  # fmt: skip
AT, OUTPUT = 3, 1
SCRIPT = """
import { readFileSync } from "node:fs";
const { engine: module, tasks, weights, config, inputs, at, output } = JSON.parse(readFileSync(0, "utf8"));
const { instantiate } = await import(`file://${module}/transformer.mjs`), { TASKS } = await import(`file://${tasks}/all.mjs`);
const engine = await instantiate(readFileSync(`${module}/transformer.wasm`));
const session = { engine, config, model: engine.load(Buffer.from(weights, "hex"), config) };
const { p } = TASKS.lens(session, { inputs, cell: [0, 0] });
const { values } = TASKS.contributions(session, { inputs, at, output });
const { texts } = TASKS.attribution(session, { inputs, at, output, steps: 64, points: [0, 64] });
console.log(JSON.stringify({ p: [...p], values: [...values], texts: texts.flatMap((text) => [...text]) }));
"""


TEXT, TARGET = [5, 6, 5, 7, 10, 6], [1, 8, 5, 8, 6]
"""tokens, of which some stand twice"""
EDITS = [[5, 6, 5, 7], [5, 6, 5, 7, 10], [5, 6, 5, 7, 8], [5, 6], [5, 6], [5, 9, 5, 7], [9, 5, 7, 6, 6], [3]]
"""a text while it is typed: begun, longer, its end changed, shorter, as it was, changed inside, its beginning gone"""
EDITING = """
import { readFileSync } from "node:fs";
const { engine: module, tasks, weights, config, edits } = JSON.parse(readFileSync(0, "utf8"));
const { instantiate } = await import(`file://${module}/transformer.mjs`);
const { decoderOf, pass } = await import(`file://${tasks}/pass.mjs`);
const engine = await instantiate(readFileSync(`${module}/transformer.wasm`));
const model = engine.load(Buffer.from(weights, "hex"), config), session = { model };
const places = Object.keys(model.places());
const differences = edits.map((text, i) => {
    const found = pass(session, text, i ? places : places.slice(3, 5)), fresh = model.keep(undefined, text);
    return Object.entries(found).map(([name, { shape, data }]) => {
        if (`${shape}` !== `${fresh[name].shape}`) throw Error(`${name}: ${shape}`);
        return Math.max(...data.map((x, j) => Math.abs(x - fresh[name].data[j])));
    });
});
const options = { maxTokens: 3, temperature: 0 }, text = edits[0];
const decoders = [decoderOf(session, text), undefined];
const written = decoders.map((decoder) => [...model.generate(text, { ...options, decoder })]);
console.log(JSON.stringify({ differences, written }));
"""
LONG: dict[str, Any] = {"gpt": TEXT * 6, "bert": {"tokens": TEXT * 6}}
SCORES = """
import { readFileSync } from "node:fs";
const { engine: module, tasks, weights, config, inputs, part } = JSON.parse(readFileSync(0, "utf8"));
const { instantiate } = await import(`file://${module}/transformer.mjs`), { TASKS } = await import(`file://${tasks}/all.mjs`);
const engine = await instantiate(readFileSync(`${module}/transformer.wasm`));
const session = { engine, config, model: engine.load(Buffer.from(weights, "hex"), config) };
const shown = (show) => [...TASKS.attention(session, { inputs, part, layer: 0, head: 1, show }).head.values];
console.log(JSON.stringify({ scores: shown("scores"), softmax: shown("softmax") }));
"""
ROUNDING = 1e-5
"""activations of about 1, each from sums of at most 16 float32 numbers in another order; 1e-6 measured"""


@pytest.mark.parametrize("choices", [*VARIANTS, NO_NORM], ids=lambda choices: "-".join(choices) or "plain")
@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_lens_contributions_and_attribution_are_those_of_pytorch(
    family: str, kind: dict[str, Any], choices: dict[str, Any], tiny: Any
):
    model = tiny(family, **kind, **choices)
    text, target = torch.tensor([TEXT]), torch.tensor([TARGET])
    inputs, given = {
        "gpt": ((text,), TEXT),
        "transformer": ((text, target, text > 0, target > 0), {"source": TEXT, "target": TARGET}),
    }.get(family, ((text, text > 0, torch.zeros_like(text)), {"tokens": TEXT}))
    expected = {
        "p": logit_lens(model, inputs)[:, 0].softmax(-1).amax(-1).flatten(),
        "values": torch.cat(list(contributions(model, inputs, OUTPUT, AT).values())),
        "texts": torch.cat(integrated_gradients(model, inputs, OUTPUT, AT).texts),
    }
    found = ask(SCRIPT, model, inputs=given, at=0 if family == "classifier" else AT, output=OUTPUT)
    for name, values in expected.items():
        assert np.abs(np.array(found[name]) - values.numpy()).max() <= TOLERANCE * np.ptp(values.numpy())


@pytest.mark.parametrize("choices", VARIANTS, ids=lambda choices: "-".join(choices) or "plain")
def test_a_text_that_is_edited_is_read_on_as_if_it_were_new(choices: dict[str, Any], tiny: Any):
    found = ask(EDITING, tiny("gpt", **choices), edits=EDITS)
    assert [len(each) > 20 for each in found["differences"]] == [False] + [True] * (len(EDITS) - 1)  # places are added
    assert max(max(each) for each in found["differences"]) <= ROUNDING
    assert found["written"][0] == found["written"][1]


@pytest.mark.parametrize("positions", ["alibi", "relative"])
@pytest.mark.parametrize(("family", "part"), [("gpt", "decoder"), ("bert", "encoder")])
def test_the_softmax_of_the_scores_that_are_shown_is_the_weights(family: str, part: str, positions: str, tiny: Any):
    shown = ask(SCORES, tiny(family, positions=positions, context=40), inputs=LONG[family], part=part)
    scores, weights = (np.array(shown[name], float).reshape(36, 36) for name in ("scores", "softmax"))
    exponentials = np.exp(np.where(np.isnan(scores), -np.inf, scores))
    assert np.abs(exponentials / exponentials.sum(-1, keepdims=True) - np.nan_to_num(weights)).max() <= ROUNDING


def ask(script: str, model: Any, **values: Any) -> Any:
    """The answers of Node."""
    if shutil.which("node") is None:
        pytest.skip("Node was expected, found none; install nodejs")
    values |= {
        "engine": str(ENGINE),
        "tasks": str(STATIC / "tasks"),
        "weights": save({name: x.detach().clone() for name, x in model.named_parameters()}).hex(),
        "config": json.loads(Config("none", model.config).to_json()),
    }
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
