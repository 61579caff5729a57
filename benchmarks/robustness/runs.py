"""Fuzzing the C engine's loader: mutated files of a run are refused with a sentence, or Python reads them too.

    python benchmarks/robustness/runs.py --cases 100000
    python benchmarks/robustness/runs.py --seed 417           one case again

The C code is compiled with -fsanitize=address,undefined. What it opens computes the logits of some tokens, of which
those out of range must be refused, and decodes until the context is full. A failure is a report of a sanitizer, a
refusal without a sentence, or files that C opens and Python refuses. The exit code is 1 if there is any.
"""

import copy
import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from fuzzing import Case, Found, change_bytes, fuzz, main, places
from safetensors import SafetensorError

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, Config, GPTConfig, TransformerConfig
from clearformer.engines.c.library import PARTS
from clearformer.errors import ConfigError
from clearformer.models.initial import count_parameters, initial_weights, parameter_shapes

SIZES: dict[str, Any] = {"vocab_size": 9, "context": 8, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 8}
MODELS: list[AnyModelConfig] = [
    TransformerConfig(**SIZES),
    TransformerConfig(
        **SIZES, positions="rotary", head_width=6, num_kv_heads=1, qk_norm=True, tie_embeddings=False, bias=False
    ),
    GPTConfig(**SIZES),
    GPTConfig(**SIZES, positions="alibi", activation="swiglu", norm="rms", window=3, ngram_buckets=5, logit_cap=2.0),
    GPTConfig(**SIZES, positions="sinusoidal", norm_order="post", activation="geglu"),
    BERTConfig(**SIZES, positions="relative"),
    BERTConfig(**SIZES, positions="none", norm_order="pre", activation="squared_relu", segments=0),
    ClassifierConfig(**SIZES, num_classes=3),
    ClassifierConfig(**SIZES, body="gpt", pooling="mean", positions="rotary", rotary_factor=4.0, rotary_context=9),
]

NUMBERS = [
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 24, 32, 33, 64, 128, 256, -1, 0.5, 1e-9, 1e39, 1e308, 2**20, 2**20 + 1),
    *(2**24, 2**24 + 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 10**30),
]
WORDS = [
    *("transformer", "gpt", "bert", "classifier", "layer", "rms", "pre", "post", "relu", "gelu", "squared_relu"),
    *("swiglu", "geglu", "geglu_tanh", "sinusoidal", "learned", "rotary", "alibi", "relative", "none", "first", "last"),
    *("mean", "F32", "F16"),
]
VALUES: list[Any] = [*NUMBERS, *WORDS, None, True, False, "", "\0", "é", [], {}, [1], [8, 8], [8, 8, 8], [0, 256]]
KEYS = ["", "x", "dtype", "shape", "data_offsets", "__metadata__", "kind", "format", "model", "segments", "embedding"]
FLOATS = [struct.pack("<f", x) for x in (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 0.0)]
TRAINING_ONLY = ("dropout", "zero_outputs", "mask_share")
LENGTHS = [0, 1, 4, 8, 2**31, 2**32, 2**63, 2**64 - 1, 2**64 - 8, 10**7, 10**7 + 1]

SENTENCE = re.compile(r"[ -~]+ (must be|was expected|were expected|has the unknown key|must have)[ -~]+; [ -~]+")


def change_value(file: Any, rng: random.Random) -> None:
    """Replace, remove, rename or exchange one value."""
    nodes = places(file)
    if not nodes:
        return
    container, key = rng.choice(nodes)
    match rng.randrange(8):
        case 0:
            del container[key]
        case 1:
            other, place = rng.choice(nodes)
            container[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(container[key])
        case 2 if isinstance(container, dict):
            container[rng.choice([*KEYS, *container])] = container.pop(key)
        case _ if isinstance(container[key], int) and rng.random() < 0.7:
            container[key] = rng.choice([*NUMBERS, container[key] + rng.choice([-8, -4, -1, 1, 4, 8])])
        case _:
            container[key] = copy.deepcopy(rng.choice(VALUES))


def change_numbers(data: bytes, rng: random.Random) -> bytes:
    """Some weights that are extreme, or data that is cut off or longer."""
    match rng.randrange(6):
        case 0:
            return data[: rng.randrange(len(data) + 1)]
        case 1:
            return data + rng.randbytes(rng.randrange(1, 9))
    place = rng.randrange(len(data) // 4 + 1) * 4
    return data[:place] + rng.choice(FLOATS) + data[place + 4 :]


def join(header: bytes, data: bytes, rng: random.Random) -> bytes:
    """A safetensors file, mostly with the right length of the header."""
    header += b" " * (-len(header) % 8) if rng.random() < 0.95 else b""
    length = len(header) if rng.random() < 0.95 else rng.choice([*LENGTHS, rng.randrange(2 * len(header) + 1)])
    return struct.pack("<Q", length) + header + data


def model_of(values: Any) -> AnyModelConfig:
    """The model of a configuration; what else it says, C does not read. Raises ConfigError."""
    settings = values.get("model") if isinstance(values, dict) else None
    if isinstance(settings, dict):
        settings = {name: value for name, value in settings.items() if name not in TRAINING_ONLY}
    return Config.from_dict({"dataset": "none", "format": values.get("format", 1), "model": settings}).model


def weights_for(values: Any, header: Any, data: bytes) -> tuple[Any, bytes]:
    """The header and data of weights that fit a configuration, or the given ones if it has none, or large ones."""
    try:
        model = model_of(values)
        small = model.num_layers < 10 and count_parameters(model) < 100_000
    except (ConfigError, AttributeError):
        return header, data
    return split(safetensors.numpy.save(initial_weights(model, 1))) if small else (header, data)


def split(weights: bytes) -> tuple[Any, bytes]:
    """The header and the data of a safetensors file."""
    (length,) = struct.unpack("<Q", weights[:8])
    return json.loads(weights[8 : 8 + length]), weights[8 + length :]


def make_case(seed: int, files: list[tuple[str, bytes]]) -> Case:
    """A configuration and weights with one to three changes, and token ids."""
    rng = random.Random(seed)
    configuration, weights = rng.choice(files)
    values, (header, data) = json.loads(configuration), split(weights)
    changes = [rng.choice(["configuration", "header", "text", "header text", "data"]) for _ in range(rng.randint(1, 3))]
    for change in changes:
        if change in ("configuration", "header"):
            change_value(values if change == "configuration" else header, rng)
        if change == "data":
            data = change_numbers(data, rng)
    if rng.random() < 0.5:
        header, data = weights_for(values, header, data)
    text, header_text = (json.dumps(x, ensure_ascii=rng.random() < 0.5).encode() for x in (values, header))
    for change in changes:
        text = change_bytes(text, rng) if change == "text" else text
        header_text = change_bytes(header_text, rng) if change == "header text" else header_text
    weights = join(header_text, data, rng)
    ids = [
        rng.choice([rng.randrange(9), rng.randrange(9), rng.randrange(9), 9, 2**31 - 1, -1, -(2**31)])
        for _ in range(rng.randrange(10))
    ]
    return text, change_bytes(weights, rng) if rng.random() < 0.1 else weights, ids


def fault_in(line: str, case: Case) -> str:
    """What is wrong with the driver's line; empty if nothing."""
    configuration, weights, _ = case
    how, _, sentence = line.partition(": ")
    if sentence and not SENTENCE.fullmatch(sentence):
        return f"no sentence: {line}"
    if how == "refused":
        return ""
    try:
        model = model_of(json.loads(configuration))
        found = {name: tensor.shape for name, tensor in safetensors.numpy.load(weights).items()}
    except (ConfigError, SafetensorError, ValueError) as error:
        return f"opened, but Python says: {error}"
    return "" if found == parameter_shapes(model) else "opened, but Python expects other shapes"


def kind_of(line: str) -> str:
    """A line without what differs from case to case."""
    line = re.sub(r"(, found|unknown key) .*", r"\1 _", line)
    line = re.sub(r"(tensor|shape) \S+ \[.*\]", r"\1 _", line)
    return re.sub(r'".*("|\.\.\.)|\[.*\]|\b\d+', "_", line)


def run_cases(seeds: range) -> Found:
    """Fuzz the loader with the cases of these seeds."""
    files = []
    for model in MODELS:
        values = {"format": 1, "model": json.loads(Config("none", model).to_json())["model"]}
        files.append((json.dumps(values), safetensors.numpy.save(initial_weights(model, 1))))
    driver = Path(__file__).with_suffix(".c")
    return fuzz(driver, PARTS, seeds, lambda seed: make_case(seed, files), kind_of, fault_in)


if __name__ == "__main__":
    main(__doc__, run_cases)
