"""The C engine in WebAssembly, called from JavaScript under Node: the same numbers as the native engine's, sentences
about bad input, and no memory left behind. tests/conformance compares it with PyTorch."""

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from foreign import imported
from numpy.typing import NDArray
from safetensors.numpy import save_file

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, Config, GPTConfig, TransformerConfig
from clearformer.data.tokenizers import train_tokenizer
from clearformer.engines.c.library import FOLDER
from clearformer.engines.c.model import Model, load_weights, logits_of
from clearformer.engines.c.touch import Put, Scale, changed, keep
from clearformer.generation.sampling import Sampling, probabilities
from clearformer.models.initial import initial_weights

ROOT = Path(__file__).parents[4]
SIZES: dict[str, Any] = {"vocab_size": 23, "context": 16, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24}
CONFIGS: dict[str, AnyModelConfig] = {
    "gpt": GPTConfig(**SIZES, num_kv_heads=2, positions="rotary"),
    "bert": BERTConfig(**SIZES),
    "classifier": ClassifierConfig(**SIZES, segments=2),
    "transformer": TransformerConfig(**SIZES, head_width=5),
}
TOKENS, SEGMENTS, SOURCE = [[5, 9, 7, 11, 4], [8, 22, 6, 6, 10]], [[0, 0, 0, 1, 1]] * 2, [[4, 5, 6], [12, 9, 20]]
REAL, SOURCE_REAL = np.ones((2, 5), np.bool_), np.ones((2, 3), np.bool_)
INPUTS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "gpt": (TOKENS, (TOKENS,)),
    **{name: ({"tokens": TOKENS, "segments": SEGMENTS}, (TOKENS, REAL, SEGMENTS)) for name in ("bert", "classifier")},
    "transformer": ({"source": SOURCE, "target": TOKENS}, (SOURCE, TOKENS, SOURCE_REAL, REAL)),
}
"""of each family, in JavaScript and in Python"""

TEXT = "So it is, and so it was: naïve cafés, 東京 and 42 — all of it."

TOLERANCE = 2e-6
"""relative to the largest number of an array: sums of float32 in vectors of another width; 8.0e-7 measured"""

SCRIPT = """
import { readFileSync } from "node:fs";
import { instantiate } from "FOLDER/transformer.mjs";
import { Sampler } from "FOLDER/sampling.mjs";
import { Trainer } from "FOLDER/training.mjs";
const engine = await instantiate(readFileSync(new URL("FOLDER/transformer.wasm")));
const file = (name) => new Uint8Array(readFileSync(new URL(name, import.meta.url)));
const config = (family) => JSON.parse(new TextDecoder().decode(file(`${family}.json`)));
const load = (family) => engine.load(file(`${family}.safetensors`), config(family));
const found = (() => { BODY })();
console.log(JSON.stringify(found, (_, x) => (ArrayBuffer.isView(x) ? [...x] : x)));
"""

Node = Callable[[str], Any]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Runs a script beside the files of each family's model; gives what it returns."""
    if shutil.which("node") is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("Node was expected, found none; install nodejs")
    folder = tmp_path_factory.mktemp("models")
    for name, config in CONFIGS.items():
        save_file(weights_of(config), folder / f"{name}.safetensors")
        (folder / f"{name}.json").write_text(Config(dataset="", model=config).to_json())

    def run(body: str) -> Any:
        script = folder / "script.mjs"
        script.write_text(SCRIPT.replace("FOLDER", FOLDER.as_uri()).replace("BODY", body))
        done = subprocess.run(["node", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def weights_of(config: AnyModelConfig) -> dict[str, NDArray[np.float32]]:
    """Random, so that no part is without effect."""
    rng = np.random.default_rng(3)
    weights = initial_weights(config, 1).items()
    return {name: (x + rng.normal(0, 0.2, x.shape)).astype(np.float32) for name, x in weights}


def native(family: str) -> tuple[Model, tuple[NDArray[Any], ...]]:
    """The native engine's model, and its inputs."""
    model = Model(CONFIGS[family], 1)
    load_weights(model, weights_of(CONFIGS[family]))
    return model, tuple(map(np.array, INPUTS[family][1]))


def array(found: dict[str, Any]) -> NDArray[np.float32]:
    return np.array(found["data"], np.float32).reshape(found["shape"])


def assert_close(found: dict[str, Any], expected: NDArray[Any], what: str = "") -> None:
    largest = float(np.abs(expected).max())
    np.testing.assert_allclose(array(found), expected, rtol=0, atol=TOLERANCE * largest, err_msg=what)


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    """tools/wasm.py"""
    pinned = re.search(r"^ziglang==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    if importlib.util.find_spec("ziglang") is None or importlib.metadata.version("ziglang") != pinned[1]:
        pytest.skip(f"ziglang {pinned[1]} was expected, as others give other bytes; install the extra dev")
    spec = importlib.util.spec_from_file_location("wasm_tool", ROOT / "tools" / "wasm.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_module_is_what_the_compiler_makes_of_the_sources(builder: ModuleType, tmp_path: Path):
    builder.build(tmp_path / "built.wasm")
    assert (tmp_path / "built.wasm").read_bytes() == builder.MODULE.read_bytes(), "it is old: run make wasm"


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("family", CONFIGS)
def test_everything_on_the_way_is_what_the_native_engine_computes(node: Node, family: str):
    found = node(f"return load('{family}').keep(undefined, {json.dumps(INPUTS[family][0])})")
    expected = keep(*native(family))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, name)


@pytest.mark.usefixtures("compiled")
def test_changes_do_what_they_do_in_the_native_engine_and_are_undone(node: Node):
    before, cut, patched, after = node(f"""
        const model = load("gpt"), texts = {TOKENS}, place = "decoder.layers.0.attention";
        const run = (changes) => (model.change(changes), model.run(texts[0]));
        const kept = model.keep([place], texts[1])[place];
        return [run([]), run([{{ name: `${{place}}.core`, heads: [1, 3], scale: 0.5 }}]),
            run([{{ name: place, put: kept, tokens: [1, 4], columns: [2, 9] }}]), run([])];
    """)
    model, (tokens,) = native("gpt")
    values = keep(model, (tokens[1:],), ["decoder.layers.0.attention"])["decoder.layers.0.attention"]
    assert_close(before, logits_of(model, (tokens[:1],)))
    with changed(model, [Scale("decoder.layers.0.attention.core", 0.5, heads=range(1, 3))]):
        assert_close(cut, logits_of(model, (tokens[:1],)))
    with changed(model, [Put("decoder.layers.0.attention", values, tokens=range(1, 4), columns=range(2, 9))]):
        assert_close(patched, logits_of(model, (tokens[:1],)))
    assert after == before


def test_generated_tokens_are_those_of_passes_over_the_whole_text(node: Node):
    cached, whole = node("""
        const model = load("gpt"), text = [5, 9, 7];
        model.change([{ name: "decoder.layers.0.attention.core", scale: 3 }]);
        const cached = [...model.generate(text, { temperature: 0 })];
        while (text.length < 17) {
            const last = model.run(text).data.slice(-23).fill(-Infinity, 0, 4); // PAD, BOS, EOS and UNK
            text.push(last.indexOf(Math.max(...last)));
        }
        return [cached, text.slice(3)];
    """)
    assert cached == whole
    assert len(set(cached)) > 3


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(top_k=2), Sampling(top_p=0.6), Sampling(temperature=0.0)],
)
def test_tokens_are_drawn_with_their_probabilities(node: Node, sampling: Sampling):
    draws, logits = 4000, [0.1, 1.3, -0.4, 0.9, 2.0, 1.1]
    options = {"temperature": sampling.temperature, "topK": sampling.top_k, "topP": sampling.top_p}
    found = node(f"""
        const sampler = new Sampler({json.dumps(options)}), logits = Float32Array.from({logits});
        return Array.from({{ length: {draws} }}, () => sampler.choose(logits, [4]));
    """)
    allowed = np.array([logits], np.float32)
    allowed[0, 4] = -np.inf
    p = probabilities(allowed, sampling)[0]
    counts = np.bincount(found, minlength=len(logits))
    assert (counts[p == 0] == 0).all()
    deviations = (counts - draws * p)[p > 0] / np.sqrt(draws * p * (1 - p) + 1)[p > 0]
    assert np.abs(deviations).max() < 4  # standard deviations; the draws have one seed


def test_a_model_learns_a_text_by_heart(node: Node):
    first, last, tokens = node("""
        const model = load("gpt"), trainer = new Trainer(model), text = [5, 9, 7, 11, 4, 8, 22, 6];
        const batch = { inputs: text.slice(0, -1), targets: text.slice(1) }, losses = [];
        for (let step = 0; step < 60; step++) losses.push(trainer.step([batch], { rate: 1e-2 }).loss);
        return [losses[0], trainer.loss([batch]), [...model.generate([5], { maxTokens: 7, temperature: 0 })]];
    """)
    assert first > 2
    assert last < 0.05
    assert tokens == [9, 7, 11, 4, 8, 22, 6]


@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_tokenizers_give_the_ids_and_texts_of_the_library(node: Node, kind: Any):
    tokenizer = train_tokenizer(kind, [TEXT] * 3, 300)
    texts = [TEXT, "", "é…𝒳 <pad>\n\n  ready?", "\ufeffSo", "über\u0301 naïve 東京 42"]
    ids = [list(found) for found in tokenizer.encode_batch(texts)]
    found, decoded, streamed = node(f"""
        const tokenizer = engine.tokenizer({json.dumps(tokenizer.backend.to_str())}), ids = {json.dumps(ids)};
        return [{json.dumps(texts)}.map((text) => tokenizer.encode(text)), ids.map((some) => tokenizer.decode(some)),
            ids.map((some) => [...tokenizer.stream(some)].join(""))];
    """)
    assert found == ids
    assert decoded == streamed == [tokenizer.decode(some) for some in ids]


@pytest.mark.parametrize("kind", ["GPT-2", "Qwen2", "BERT", "Llama", "Marian", "T5", "mT5"])
def test_imported_tokenizers_give_the_ids_special_tokens_and_texts_of_the_library(node: Node, kind: str):
    tokenizer, texts = imported(kind), [TEXT, "", "the dog's 東京 42", "a <s> b<|endoftext|>", "ﬁ  e\u0301\r\nx"]
    ids = [list(found) for found in tokenizer.encode_batch(texts)]
    given = json.dumps(tokenizer.backend.to_str()), json.dumps(json.dumps(tokenizer.names))
    found, decoded, special, never, around = node(f"""
        const tokenizer = engine.tokenizer({", ".join(given)}), ids = {json.dumps(ids)};
        const all = [...Array({tokenizer.vocab_size}).keys()];
        return [{json.dumps(texts)}.map((text) => tokenizer.encode(text)), ids.map((some) => tokenizer.decode(some)),
            tokenizer.special, all.filter((id) => tokenizer.isNeverWritten(id)), tokenizer.around];
    """)
    assert found == ids
    assert decoded == [tokenizer.decode(some) for some in ids]
    assert special == {role: index for role, index in tokenizer.special._asdict().items() if index is not None}
    assert never == list(tokenizer.never_written)
    assert [*around[0], *ids[0], *around[1]] == tokenizer.encode(TEXT)


def test_a_token_that_continues_a_sentence_has_the_space_before_it(node: Node):
    tokenizer = imported("Llama")
    the = tokenizer.encode_lines("the")[0]
    given = json.dumps(tokenizer.backend.to_str()), json.dumps(json.dumps(tokenizer.names))
    assert tokenizer.token_text(the) == "the"
    assert node(f"""
        const tokenizer = engine.tokenizer({", ".join(given)});
        return [tokenizer.behind({the}), [...tokenizer.stream([{the}], [{the}])].join(""), tokenizer.decode([{the}])];
    """) == [" the", " the", "the"]


def test_all_memory_comes_back(node: Node):
    left = node(f"""
        const gpt = load("gpt"), pairs = load("transformer"), trainer = new Trainer(gpt);
        for (const token of gpt.generate([5, 6])) break;
        pairs.translate({SOURCE}, {{ beam: 3 }});
        pairs.change([{{ name: "decoder", scale: 2 }}]);
        try {{ gpt.run([99]); }} catch {{}}
        [trainer, pairs, gpt].forEach((owner) => owner.free());
        return engine.memory.taken;
    """)
    assert left == []


BAD_CALLS = {
    "gpt.run([5, 23])": r"whole numbers from 0 to 22 were expected, found 23; use the run's own tokenizer",
    "gpt.run([5, 1.5])": "found 1.5",
    "gpt.run([5, -1])": "found -1",
    'gpt.run([5, "6"])': "found 6",
    "gpt.run([])": "tokens: an array of numbers or of such arrays was expected, found an empty array",
    'gpt.run("text")': "found undefined",
    "gpt.run(null)": "found undefined",
    "gpt.run([[5], []])": "found something else among them",
    "gpt.run(Array(17).fill(5))": "at most 16 tokens were expected, the model's context, found 17",
    "bert.run({ tokens: [5, 6], segments: [0] })": "a segment for each token was expected",
    "bert.run({ tokens: [5, 6], segments: [0, 2] })": "whole numbers from 0 to 1 were expected, found 2",
    "pairs.run({ source: [5] })": "target: an array",
    "pairs.run({ source: [[5], [6]], target: [5] })": "a source for each target was expected, found 2",
    'gpt.keep(["decoder.layers.9"], [5])': 'a place\'s name was expected, found "decoder.layers.9"',
    'gpt.change([{ name: "toString", scale: 0 }])': "a place's name was expected",
    'gpt.keep("decoder", [5])': "an array of names was expected, or undefined for all, found string",
    "gpt.change([null])": "a place's name was expected, found undefined",
    "gpt.change(5)": "an array of changes was expected, found number",
    'gpt.change([{ name: "decoder", scale: 0, tokens: 3 }])': r"tokens \[first, end\] from 0 to any .*, found 3",
    'gpt.change([{ name: "decoder" }])': r"put, { shape: \[B, T, 16\], data }, was expected of decoder",
    'gpt.change([{ name: "decoder", scale: 0, columns: [3, 17] }])': r"columns \[first, end\] from 0 to 16",
    'gpt.change([{ name: "decoder", put: { shape: [1, 2, 16], data: new Float32Array(9) } }])': "was expected of",
    "[...gpt.generate([5], { temperature: -1 })]": r"temperature: 0 \(greedy\) or more was expected, found -1",
    "[...gpt.generate([5], { maxTokens: -1 })]": "maxTokens: 0 or more was expected, found -1",
    "[...gpt.generate([5], { topP: 0 })]": "topP: above 0",
    "[...gpt.generate([5], { maxTokens: 20 })]": "the context of 16 tokens is full after 16 of 20 new tokens",
    "[...gpt.generate([[5], [6]])]": "one text was expected, found 2",
    "[...bert.generate([5])]": "a GPT or an encoder-decoder was expected to generate, found a bert",
    "gpt.translate([5])": "an encoder-decoder was expected to translate, found a gpt",
    "pairs.translate([5], { beam: 0 })": "1 <= nBest <= beam <= 1000 was expected",
    "pairs.translate(Array(16).fill(5))": "at most 16 tokens were expected",
    "trainer.loss([{ inputs: [5] }])": "an array of { inputs, targets } was expected",
    "trainer.loss([{ inputs: [5], targets: [-100] }])": "at least one target was expected",
    "trainer.loss([{ inputs: [5], targets: [30] }])": "targets from 0 to 22, or -100, were expected",
    "trainer.loss([{ inputs: [5, 6], targets: [6] }])": "a target for each token was expected",
    "new Trainer(changed).backward([{ inputs: [5], targets: [6] }])": "training was expected without changes, found 1",
    "freed.run([5])": "a model was expected, found one that was freed; load it again",
    'engine.load("text", config("gpt"))': "the bytes of model.safetensors were expected, found string",
    'engine.tokenizer("{}")': "was expected",
    'engine.load(new Uint8Array(3), config("gpt"))': "at least 8 bytes were expected, found 3",
    'engine.load(file("gpt.safetensors"), undefined)': "expected",
    'engine.load(file("gpt.safetensors"), config("bert"))': "was expected, found",
    'engine.load(file("gpt.safetensors"), { model: 5 })': "found",
}
"""a call, and words of the error"""


def test_what_cannot_be_done_is_said_in_one_sentence(node: Node):
    calls = ", ".join(f"[{json.dumps(call)}, () => {{ {call} }}]" for call in BAD_CALLS)
    found = node(f"""
        const gpt = load("gpt"), bert = load("bert"), pairs = load("transformer"), trainer = new Trainer(gpt);
        const changed = load("gpt"), freed = load("gpt");
        changed.change([{{ name: "decoder", scale: 2 }}]);
        freed.free();
        const outcome = (call) => {{
            try {{ call(); }} catch (error) {{ return `${{error.name}}: ${{error.message}}`; }}
        }};
        return Object.fromEntries([{calls}].map(([words, call]) => [words, outcome(call)]));
    """)
    for call, words in BAD_CALLS.items():
        assert re.match("Error: .*(expected|must be|is full).*; .+", found[call]), (call, found[call])
        assert re.search(words, found[call]), (call, found[call])


def test_damaged_files_are_refused_or_run_and_never_trap(node: Node):
    outcomes = node("""
        const good = file("bert.safetensors"), text = config("bert"), outcomes = {};
        for (let i = 0; i < 600; i++) {
            const bad = good.slice(0, i % 3 ? good.length : (i * 97) % good.length);
            const end = i % 2 ? 1500 : bad.length || 1; // the header is damaged more often than the numbers
            for (let k = 0; k < 1 + i % 4; k++) bad[(i * 7919 + k * 104729) % end] ^= 1 << (i % 8);
            let outcome = "runs";
            try {
                const model = engine.load(bad, text);
                try { model.run([5, 6, 7]); } finally { model.free(); }
            } catch (error) { outcome = error.name; }
            outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
        }
        return { ...outcomes, left: engine.memory.taken.length };
    """)
    assert outcomes.keys() == {"runs", "Error", "left"}
    assert outcomes["left"] == 0
    assert outcomes["Error"] > outcomes["runs"] > 50
