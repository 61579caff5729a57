"""Initial weights are a function of (configuration, seed); names and shapes are those of the torch model."""

import itertools
import math

import numpy as np
import pytest
import torch

from clearformer.config import GPTConfig, TransformerConfig
from clearformer.models.build import FAMILIES, build
from clearformer.models.initial import count_parameters, initial_weights, parameter_shapes

SMALL = {"vocab_size": 11, "context": 7, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12}
WIDE = {"vocab_size": 200, "context": 60, "d_model": 64, "num_heads": 2, "num_layers": 2, "d_ff": 128}
CHOICES = list(
    itertools.product(("layer", "rms"), ("pre", "post"), ("sinusoidal", "learned"), (True, False), (True, False))
)


def count(config: GPTConfig | TransformerConfig) -> int:
    """Parameters of the torch model, made without memory; a tied matrix counts once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in FAMILIES[type(config)](config).parameters())


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
@pytest.mark.parametrize(("norm", "norm_order", "positions", "bias", "tie_embeddings"), CHOICES)
def test_names_and_shapes_are_those_of_the_model(family, norm, norm_order, positions, bias, tie_embeddings):
    config = family(
        **SMALL, norm=norm, norm_order=norm_order, positions=positions, bias=bias, tie_embeddings=tie_embeddings
    )
    found = {name: tuple(value.shape) for name, value in FAMILIES[family](config).named_parameters()}
    assert parameter_shapes(config) == found
    assert ("output_projection.weight" in found) != tie_embeddings
    assert ("positions.weight" in found) == (positions == "learned")
    assert any(name.endswith("bias") for name in found) == bias


def test_the_papers_base_model_has_63_million_parameters_worked_by_hand():
    # table 3, base: N = 6, d_model = 512, d_ff = 2048, one joint vocabulary of 37,000 tokens and one matrix for it
    attention = 4 * (512 * 512 + 512)  # W_Q, W_K, W_V, W_O with their biases
    feed_forward = 512 * 2048 + 2048 + 2048 * 512 + 512
    norm = 2 * 512
    encoder = 6 * (attention + feed_forward + 2 * norm)
    decoder = 6 * (2 * attention + feed_forward + 3 * norm)
    expected = 37_000 * 512 + encoder + decoder
    assert expected == 63_082_496
    assert count_parameters(TransformerConfig()) == count(TransformerConfig()) == expected


def test_gpt2_small_has_as_many_parameters_as_the_published_one():
    assert count_parameters(GPTConfig()) == count(GPTConfig()) == 124_439_808


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(family):
    config = family(**SMALL)
    first, again, other = initial_weights(config, 1), initial_weights(config, 1), initial_weights(config, 2)
    for name, value in first.items():
        assert value.dtype == np.float32
        assert value.tobytes() == again[name].tobytes()
        if value.ndim == 2:
            assert (value != other[name]).mean() > 0.99, name


def test_no_two_parameters_are_copies_of_each_other():
    matrices = [value for value in initial_weights(TransformerConfig(**SMALL), 1).values() if value.ndim == 2]
    flat = [value.ravel()[:64] for value in matrices]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(flat, 2))


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_a_parameters_value_does_not_depend_on_how_many_others_there_are(family):
    shallow = initial_weights(family(**SMALL, bias=False), 1)
    deep = initial_weights(family(**SMALL | {"num_layers": 5}), 1)
    # GPT's writes into the residual stream are scaled by 1 / sqrt(2L): the same draw at another size
    scale = dict.fromkeys(shallow, 1.0)
    if family is GPTConfig:
        writes = [name for name in shallow if name.endswith((".output_projection.weight", ".linear2.weight"))]
        scale |= dict.fromkeys(writes, math.sqrt(5 / 2))
    for name, value in shallow.items():
        np.testing.assert_allclose(value, deep[name] * scale[name], rtol=1e-6)


@pytest.mark.parametrize("seed", [1, 2])
def test_standard_deviations_of_gpt_are_those_of_gpt2(seed: int):
    weights = initial_weights(GPTConfig(**WIDE), seed)
    for name, value in weights.items():
        if value.ndim == 1:
            assert (value == (0.0 if name.endswith("bias") else 1.0)).all(), name
            continue
        expected = 0.02 / math.sqrt(2 * 2) if "output_projection" in name or "linear2" in name else 0.02
        # the deviation of n normal draws is known to 1 / sqrt(2n); five times that
        assert value.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * value.size)), name


def test_embeddings_that_are_scaled_have_variance_one_over_the_width():
    for family in (GPTConfig, TransformerConfig):
        embedding = initial_weights(family(**WIDE, scale_embeddings=True), 1)["embedding.weight"]
        assert embedding.std() == pytest.approx(1 / 8, rel=5 / math.sqrt(2 * embedding.size))
        embedding = initial_weights(family(**WIDE, scale_embeddings=False), 1)["embedding.weight"]
        assert embedding.std() == pytest.approx(0.02, rel=5 / math.sqrt(2 * embedding.size))


@pytest.mark.parametrize(
    ("ending", "fan_in", "fan_out"),
    [
        (".qkv_projection.weight", 64, 64),  # three square matrices, each with its own fan
        (".kv_projection.weight", 64, 64),
        (".query_projection.weight", 64, 64),
        (".output_projection.weight", 64, 64),
        (".linear1.weight", 64, 128),
        (".linear2.weight", 128, 64),
    ],
)
def test_matrices_of_the_transformer_are_uniform_within_glorots_bound(ending: str, fan_in: int, fan_out: int):
    bound = math.sqrt(6 / (fan_in + fan_out))
    found = [value for name, value in initial_weights(TransformerConfig(**WIDE), 1).items() if name.endswith(ending)]
    assert found
    for value in found:
        assert 0.99 * bound < np.abs(value).max() <= np.float32(bound)
        assert value.std() == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(value.size))


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_build_fills_the_model_with_the_initial_weights(family):
    config = family(**SMALL)
    expected = initial_weights(config, 3)
    for name, parameter in build(config, 3).named_parameters():
        assert parameter.requires_grad
        np.testing.assert_array_equal(parameter.detach().numpy(), expected[name])
