"""C opens a run's files as Python does, and refuses all others with a sentence."""

import ctypes
import dataclasses
import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, Config, GPTConfig, TransformerConfig
from clearformer.engines.c import library
from clearformer.engines.c.library import FAULT_SIZE, Json, c_config
from clearformer.engines.c.model import Model, aligned, load_weights, logits_of
from clearformer.errors import ConfigError
from clearformer.models.initial import initial_weights

pytestmark = pytest.mark.usefixtures("compiled")

SIZES: dict[str, Any] = {"vocab_size": 11, "context": 8, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 12}
TOKENS = np.random.default_rng(1).integers(0, 11, (2, 6))
REAL = TOKENS > 1
CASES: dict[str, tuple[AnyModelConfig, tuple[NDArray[Any], ...]]] = {
    "transformer": (TransformerConfig(**SIZES), (TOKENS[:, ::-1], TOKENS, REAL, REAL)),
    "gpt": (GPTConfig(**SIZES, positions="rotary", num_kv_heads=2, ngram_buckets=7, logit_cap=3.5), (TOKENS,)),
    "scaled rotary positions": (
        GPTConfig(**SIZES, positions="rotary", rotary_factor=8.0, rotary_context=3, rotary_low=0.3, rotary_high=0.7),
        (TOKENS,),
    ),
    "bert": (
        BERTConfig(**SIZES, head_width=5, norm="rms", qk_norm=True, tie_embeddings=False),
        (TOKENS, REAL, TOKENS % 2),
    ),
    "classifier": (ClassifierConfig(**SIZES, body="gpt", pooling="mean", positions="alibi"), (TOKENS, REAL)),
}
MOST, MOST_ROWS = 2**20, 2**24


class Files:
    """What C makes of a configuration and of weights; `fault` is its sentence."""

    def __init__(self, configuration: str, weights: bytes = b"") -> None:
        self.configuration, self.c = configuration.encode(), library.library()[0]
        self.weights, fault = (
            ctypes.create_string_buffer(weights, len(weights)),
            ctypes.create_string_buffer(FAULT_SIZE),
        )
        at = self.configuration, len(self.configuration), ctypes.addressof(self.weights), len(weights)
        size = self.c.open_model(*at, None, fault)
        self.memory = aligned(size)
        if size:
            size = self.c.open_model(*at, self.memory.ctypes.data, fault)
        self.fault = "" if size else fault.value.decode()
        assert bool(size) != bool(self.fault)

    def check(self, tokens: list[int], past: int = 0) -> str:
        fault = ctypes.create_string_buffer(FAULT_SIZE)
        ids = np.array(tokens, np.int32)
        fits = self.c.check_tokens(self.memory.ctypes.data, ids.ctypes.data, len(ids), past, fault)
        return "" if fits else fault.value.decode()


def weights_of(config: AnyModelConfig) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(2)
    return {name: rng.normal(0, 0.3, x.shape).astype(np.float32) for name, x in initial_weights(config, 1).items()}


@pytest.mark.parametrize("family", CASES)
def test_a_run_opens_and_computes_the_logits_that_its_weights_give_in_python(family: str):
    config, inputs = CASES[family]
    weights, model = weights_of(config), Model(config, 1)
    load_weights(model, weights)
    expected = logits_of(model, inputs)
    files = Files(Config("none", config).to_json(), safetensors.numpy.save(weights, {"made": "here"}))
    assert files.fault == ""
    model.parameters.clear()
    model.at = files.memory.ctypes.data
    np.testing.assert_array_equal(logits_of(model, inputs), expected)


def read(values: dict[str, Any]) -> tuple[library.Config, str]:
    """The C configuration of a file with these values, and the fault."""
    memory = ctypes.create_string_buffer(text := json.dumps(values).encode(), len(text))
    config, fault = library.Config(), ctypes.create_string_buffer(FAULT_SIZE)
    at = ctypes.addressof(memory)
    fits = library.library()[0].read_configuration(Json(at, at + len(text)), config, fault)
    return config, "" if fits else fault.value.decode()


def fields(config: library.Config) -> dict[str, Any]:
    """Numbers by name: between them are bytes that mean nothing."""
    return {name: getattr(config, name) for name, _ in config._fields_}


SETTINGS = sorted(
    {item.name for family, _ in CASES.values() for item in dataclasses.fields(family)}
    - {"dropout", "zero_outputs", "initial_std", "mask_share"}
)
"""dropout, zero_outputs, initial_std and mask_share are of training alone, and C reads none of them"""


@given(
    family=st.sampled_from(sorted(CASES)),
    omitted=st.sets(st.sampled_from(SETTINGS)),
    changed=st.dictionaries(
        st.sampled_from(SETTINGS),
        st.sampled_from([0, 1, 2, 3, 4, 6, 8, 12, -1, MOST, True, False, 0.5, None, "gelu", "rotary", "learned",
                         "alibi", "relative", "none", "pre", "post", "rms", "gpt", "last", "swiglu", "mean"]),
        max_size=3,
    ),
)  # fmt: skip
def test_every_configuration_is_read_or_refused_as_in_python(family: str, omitted: set[str], changed: dict[str, Any]):
    values = json.loads(Config("none", CASES[family][0]).to_json())
    for setting in omitted:
        values["model"].pop(setting, None)
    values["model"] |= changed
    found, fault = read(values)
    try:
        expected = c_config(Config.from_dict(values).model)
    except ConfigError:
        assert fault
    else:
        assert fault == ""
        assert fields(found) == fields(expected)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "rnn"}, 'model.kind must be one of transformer, gpt, bert, classifier, found "rnn"; change'),
        ({"d_modle": 64}, 'model has the unknown key "d_modle"; use the version of clearformer that wrote it'),
        ({"segments": 1}, 'model has the unknown key "segments"'),
        ({"d_model": MOST + 1}, "model.d_model must be a number from 1 to 1048576, found 1048577; change that value"),
        ({"vocab_size": MOST_ROWS + 1}, "model.vocab_size must be a number from 1 to 16777216, found 16777217"),
        ({"context": 0}, "model.context must be a number from 1 to 1048576, found 0"),
        ({"bias": "true"}, 'model.bias must be one of false, true, found "true"'),
        ({"num_heads": 3}, "model.num_heads must be a divisor of d_model (16), found 3"),
        ({"head_width": 0}, "model.head_width must be a number from 1 to 1048576, found 0"),
        ({"head_width": None}, "model.head_width must be a number from 1 to 1048576, found null"),
        ({"head_width": 5}, "model.head_width must be even, as rotary positions need, found 5"),
        ({"rotary_factor": 0}, "model.rotary_factor must be above 0 and finite, found 0"),
        ({"rotary_low": 4.0}, "model.rotary_high must be above rotary_low"),
        ({"num_kv_heads": 3}, "model.num_kv_heads must be a divisor of num_heads (4), found 3"),
        ({"num_heads": 16}, "model.d_model must be an even multiple of num_heads, as rotary needs, found 16"),
        ({"d_model": 17, "num_heads": 1, "positions": "sinusoidal"}, "model.d_model must be even, as sinusoidal"),
        ({"logit_cap": 1e39}, "model.logit_cap must be at least 0 and finite, found 1e+39"),
        ({"kind": "classifier", "body": "gpt"}, "model.pooling must be last or mean, since a GPT's first token"),
        ({"kind": "classifier", "body": "gpt", "pooling": "last", "segments": 2}, "model.segments must be 0, since"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_what_was_expected(changed: dict[str, Any], words: str):
    values = json.loads(Config("none", CASES["gpt"][0]).to_json())
    values["model"] |= changed
    assert read(values)[1].startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an object of JSON was expected, found none; copy the run's config.json again"),
        ("[]", "an object of JSON was expected"),
        ("{}", 'one object "model" was expected, found nothing; copy'),
        ('{"model": {"kind": "gpt"}, "model": {"kind": "gpt"}}', 'one object "model" was expected, found nothing'),
        ('{"format": 2, "model": {}}', "a configuration of format 1 or older was expected, found format 2; use"),
        ('{"model": {"kind": "gpt", "kind": "bert"}}', "model.kind must be one of transformer, gpt, bert, classifier"),
        ('{"model": {"kind": "gpt", "d_ff": 4, "d_ff": 5}}', 'model must have the key "d_ff" once, found it twice'),
        ('{"model": {"kind": "\x1b[2Jé%s"}}' % ("x" * 99), "an object of JSON was expected"),
        ('{"model": {"kind": "\x7fé%s"}}' % ("x" * 99), "model.kind must be one of transformer, gpt, bert, classifier, "
         f'found "???{"x" * 56}...; change that value'),
    ],
)  # fmt: skip
def test_a_damaged_configuration_is_refused_in_one_line_of_ascii(text: str, words: str):
    assert Files(text).fault.startswith(words)


CONFIGURATION = Config("none", CASES["gpt"][0]).to_json()
INFINITY = struct.pack("<f", -np.inf)


def entry(shape: str = "[4]", offsets: str = "[24, 40]") -> str:
    return f'{{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}'


def two_tensors(b: str = entry(), name: str = "b", data: bytes = bytes(40), spaces: int = 0) -> bytes:
    """A file of the tensors a [2, 3] and b [4]; `b` and `name` replace what the header has of the latter."""
    header = f'{{"a": {entry("[2, 3]", "[0, 24]")}, "{name}": {b}}}'
    header += " " * (-len(header) % 4 + spaces)
    return struct.pack("<Q", len(header)) + header.encode() + data


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (b"", "at least 8 bytes were expected, found 0; copy the run's file again"),
        (two_tensors()[:100], "a header of at most 92 bytes was expected, found more"),
        (b"\xff" * 20, "a header of at most 12 bytes was expected, found more"),
        (struct.pack("<Q", 10**7 + 4) + b" " * (10**7 + 8), "a header of at most 10000000 bytes was expected"),
        (struct.pack("<Q", 4) + b"[1] ", "an object of JSON was expected as the header, found none"),
        (struct.pack("<Q", 4) + b"{  }", "1 to 8192 tensors were expected, found 0"),
        (two_tensors(spaces=1), "a header of a multiple of 4 bytes was expected, found 129"),
        (two_tensors(name="a"), 'one tensor of the name "a" was expected, found two'),
        (two_tensors(name="\\u0061"), 'one tensor of the name "\\u0061" was expected, found two'),
        (two_tensors(name="b\\u0000"), 'one tensor of the name "b\\u0000" was expected, found a zero inside'),
        (two_tensors('{"dtype": "F16"}'), 'the dtype F32 was expected of "b", found "F16"; save it as float32'),
        (two_tensors("7"), 'the dtype F32 was expected of "b", found nothing'),
        *((two_tensors(entry(shape)),
           f'a shape of one or two sizes was expected of "b", found {shape}')
          for shape in ("[]", "[0]", "[0, 4]", "[4, 0]", "[1, 2, 2]", "[-4]", "[4.0]", "4", '"4"', "{}", "[[4]]")),
        *((two_tensors(entry(shape)),
           f"data for the shape b {shape} were expected, found 16 bytes")
          for shape in ("[5]", "[9007199254740992, 9007199254740992]", "[2, 3]")),
        *((two_tensors(entry(offsets=offsets)),
           f'data_offsets [24, 40] were expected of "b", found {offsets}')
          for offsets in ("[20, 36]", "[28, 40]", "[24, 44]", "[40, 24]", "[24]", "[24, 40, 40]", "[-24, 40]", "null")),
        (two_tensors(data=bytes(39)), "data for the shape b [4] were expected, found 15 bytes"),
        (two_tensors(data=bytes(44)), "40 bytes of data were expected, found 44"),
        (two_tensors(data=bytes(36) + INFINITY), 'finite numbers were expected in "b", found NaN or infinity'),
    ],
)  # fmt: skip
def test_damaged_weights_are_refused_and_the_fault_is_named(weights: bytes, words: str):
    assert Files(CONFIGURATION, weights).fault.startswith(words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decoder.norm.bias": None}, "the tensor decoder.norm.bias [16] was expected, found none of that name"),
        ({"embedding.weight": np.zeros((11, 15))}, "the tensor embedding.weight [11, 16] was expected, found "
         "embedding.weight [11, 15]; use the weights of this run"),
        ({"decoder.norm.bias": np.zeros((16, 1))}, "the tensor decoder.norm.bias [16] was expected, found decoder.norm."
         "bias [16, 1]"),
        ({"decoder.layers.2.a": np.zeros(3)}, "no more tensors were expected, found decoder.layers.2.a [3]; use the"),
    ],
)  # fmt: skip
def test_weights_of_another_model_are_named(change: dict[str, NDArray[Any] | None], words: str):
    weights = weights_of(CASES["gpt"][0]) | change
    tensors = {name: value.astype(np.float32) for name, value in weights.items() if value is not None}
    assert Files(CONFIGURATION, safetensors.numpy.save(tensors)).fault.startswith(words)


def test_more_layers_than_tensors_are_refused_before_they_take_memory():
    configuration = CONFIGURATION.replace('"num_layers": 2', f'"num_layers": {MOST}')
    words = f"weights of {MOST} layers were expected, found 2 tensors; use the weights of this run"
    assert Files(configuration, two_tensors()).fault == words


def test_tokens_that_a_model_cannot_read_are_refused():
    files = Files(CONFIGURATION, safetensors.numpy.save(weights_of(CASES["gpt"][0])))
    assert files.check([0, 10]) == files.check([1] * 8) == files.check([1], past=7) == ""
    assert files.check([0, 11]) == "tokens from 0 to 10 were expected, found 11; use the run's own tokenizer"
    assert files.check([-1]).endswith("found -1; use the run's own tokenizer")
    assert files.check([1] * 9) == "1 to 8 tokens were expected, as the context is 8, found 9; change the length"
    assert files.check([]).startswith("1 to 8 tokens were expected, as the context is 8, found 0")
    assert files.check([1], past=8).startswith("1 to 0 tokens were expected")


@pytest.mark.slow
def test_mutated_files_open_as_in_python_or_are_refused_and_no_sanitizer_reports(fuzzer):
    outcomes, faults = fuzzer("runs")(range(500))
    assert faults == []
    assert outcomes["opened"] > 0
