"""Every family, in every variant, computes PyTorch's logits from the same weights."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clearformer.config import BERTConfig, ClassifierConfig, Config, GPTConfig, TrainConfig, TransformerConfig
from clearformer.engine import engine_of, open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.models.initial import initial_weights

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]

# float32 sums in another order: 8e-7 of the largest logit measured over all cases, six times that allowed
LOGITS_TOLERANCE = 5e-6

FAMILIES = {config.kind: config for config in (TransformerConfig, GPTConfig, BERTConfig, ClassifierConfig)}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "learned": {"positions": "learned"},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "relative": {"positions": "relative"},
    "no positions": {"positions": "none"},
    "alibi of three heads": {"positions": "alibi", "num_heads": 3, "d_model": 12},
    "LayerNorm": {"norm": "layer"},
    "LayerNorm without bias": {"norm": "layer", "bias": False},
    "RMSNorm": {"norm": "rms"},
    "no norm": {"norm": "none"},
    "pre-norm": {"norm_order": "pre"},
    "post-norm": {"norm_order": "post"},
    "relu": {"activation": "relu"},
    "gelu": {"activation": "gelu"},
    "gelu by tanh": {"activation": "gelu_tanh"},
    "squared relu": {"activation": "squared_relu"},
    "swiglu": {"activation": "swiglu"},
    "geglu": {"activation": "geglu"},
    "geglu by tanh": {"activation": "geglu_tanh"},
    "grouped queries": {"num_heads": 4, "num_kv_heads": 2},
    "one key": {"num_kv_heads": 1},
    "wide heads": {"head_width": 10, "positions": "rotary"},
    "scaled rotary": {"positions": "rotary", "rotary_factor": 8.0, "rotary_context": 14, "rotary_high": 2.0},
    "window": {"window": 2},
    "normalised keys": {"qk_norm": True},
    "untied": {"tie_embeddings": False},
    "n-grams": {"ngram_buckets": 13},
    "capped": {"logit_cap": 2.0},
    "scaled embeddings": {"scale_embeddings": True},
    "unscaled embeddings": {"scale_embeddings": False},
    "many at once": {
        "positions": "rotary", "norm": "rms", "norm_order": "pre", "activation": "swiglu", "num_kv_heads": 1,
        "window": 3, "qk_norm": True, "tie_embeddings": False, "bias": False, "ngram_buckets": 13, "logit_cap": 2.0,
    },
}  # fmt: skip
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "on a GPT, last token": {"body": "gpt", "pooling": "last"},
    "on a GPT, mean pooling": {"body": "gpt", "pooling": "mean"},
    "mean pooling, segments": {"pooling": "mean", "segments": 2},
    "last token": {"pooling": "last"},
}


def difference(model: Any, twin: Any, inputs: Any) -> float:
    """The largest difference, relative to the largest logit."""
    expected, found = engine_of(model).logits_of(model, inputs), engine_of(twin).logits_of(twin, inputs)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def differs(kind: str, changes: dict[str, Any]) -> bool:
    """Whether a variant is not what the family is by default."""
    defaults = {field.name: field.default for field in dataclasses.fields(FAMILIES[kind])}
    return not changes or any(defaults[name] != value for name, value in changes.items())


@pytest.mark.parametrize(
    ("kind", "variant"),
    [
        *(case for case in itertools.product(FAMILIES, VARIANTS) if differs(case[0], VARIANTS[case[1]])),
        *(("classifier", variant) for variant in CLASSIFIERS),
    ],
)
def test_logits_are_those_of_pytorch(kind: str, variant: str, both: Callable[..., Any], feed: Callable[..., Any]):
    assert difference(*both(kind, **(VARIANTS | CLASSIFIERS)[variant]), feed(kind)) < LOGITS_TOLERANCE


def test_a_text_that_is_all_padding_gives_finite_logits(both: Callable[..., Any]):
    tokens, nothing = np.zeros((2, 4), np.int64), np.zeros((2, 4), bool)
    model, twin = both("bert", positions="rotary")
    assert difference(model, twin, (tokens, nothing, tokens)) < LOGITS_TOLERANCE


def test_captured_and_replayed_kernels_give_the_same_logits(both: Callable[..., Any], feed: Callable[..., Any]):
    model, twin = both("gpt")
    for seed in (1, 2, 3):  # eager, captured, replayed
        assert difference(model, twin, feed("gpt", seed)) < LOGITS_TOLERANCE


def test_weights_are_initialised_as_in_pytorch_and_stored_exactly(both: Callable[..., Any]):
    model, twin = both("transformer", ngram_buckets=5, tie_embeddings=False)
    engine = open_engine("tinygrad")
    found, expected = engine.weights_of(twin), engine_of(model).weights_of(model)
    assert list(found) == list(initial_weights(twin.config, 1))
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    fresh = engine.weights_of(engine.make_model(Config("none", twin.config, train=TrainConfig(seed=3))))
    assert all(np.array_equal(fresh[name], weight) for name, weight in initial_weights(twin.config, 3).items())


def test_weights_of_other_names_or_shapes_are_an_error(both: Callable[..., Any]):
    _, twin = both("gpt")
    weights = engine_of(twin).weights_of(twin)
    with pytest.raises(AssertionError, match=r"decoder\.norm\.bias: \(3,\), \(8,\)"):
        engine_of(twin).load_weights(twin, weights | {"decoder.norm.bias": np.zeros(3, np.float32)})
    del weights["decoder.norm.bias"]
    with pytest.raises(AssertionError, match=r"names differ: \['decoder\.norm\.bias'\]"):
        engine_of(twin).load_weights(twin, weights)
