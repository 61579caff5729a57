"""Initial weights are a function of (configuration, seed); names and shapes are those of the PyTorch model."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import FAMILIES, build
from clearformer.models.initial import count_parameters, initial_weights, parameter_shapes

SMALL = {"vocab_size": 11, "context": 7, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 12}
WIDE = {"vocab_size": 200, "context": 60, "d_model": 64, "num_heads": 2, "num_layers": 2, "d_ff": 128}
CHOICES = list(
    itertools.product(("layer", "rms"), ("pre", "post"), ("sinusoidal", "learned"), (True, False), (True, False))
)

gpt_and_transformer = pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
all_families = pytest.mark.parametrize("family", [GPTConfig, TransformerConfig, BERTConfig, ClassifierConfig])


def count(config: AnyModelConfig) -> int:
    """Parameters of the PyTorch model, built without allocating them; a tied matrix counts once."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in FAMILIES[type(config)](config).parameters())


def shapes_of_model(config: AnyModelConfig) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in FAMILIES[type(config)](config).named_parameters()}


@gpt_and_transformer
@pytest.mark.parametrize(("norm", "norm_order", "positions", "bias", "tie_embeddings"), CHOICES)
def test_names_and_shapes_are_those_of_the_model(family, norm, norm_order, positions, bias, tie_embeddings):
    config = family(
        **SMALL, norm=norm, norm_order=norm_order, positions=positions, bias=bias, tie_embeddings=tie_embeddings
    )
    shapes = parameter_shapes(config)
    assert shapes == shapes_of_model(config)
    assert ("output_projection.weight" in shapes) != tie_embeddings
    assert ("positions.weight" in shapes) == (positions == "learned")
    assert any(name.endswith("bias") for name in shapes) == bias


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        (GPTConfig, {}),
        (TransformerConfig, {}),
        *((BERTConfig, {"segments": segments}) for segments in (0, 1, 3)),
        *((ClassifierConfig, {"pooling": pooling, "segments": 2}) for pooling in ("first", "last", "mean")),
        *((ClassifierConfig, {"body": "gpt", "pooling": pooling, "num_classes": 3}) for pooling in ("last", "mean")),
    ],
)
def test_names_and_shapes_of_every_variant_are_those_of_the_model(variant, family, settings):
    for change in ({}, {"norm_order": "pre"}, {"norm_order": "post"}, {"norm": "rms"}):
        config = family(**SMALL | variant | settings | change)
        assert parameter_shapes(config) == shapes_of_model(config)


def test_bert_base_has_110_million_parameters_worked_by_hand():
    # Devlin et al. 2018, section 3: L = 12, H = 768, A = 12; 30,522 WordPieces, 512 positions, 2 segments
    norm = 2 * 768
    embeddings = (30_522 + 512 + 2) * 768 + norm
    attention = 4 * (768 * 768 + 768)
    feed_forward = 768 * 3072 + 3072 + 3072 * 768 + 768
    head = 768 * 768 + 768 + norm + 30_522  # the matrix of the output is that of the embeddings
    expected = embeddings + 12 * (attention + feed_forward + 2 * norm) + head
    assert expected == 109_514_298
    assert count_parameters(BERTConfig()) == count(BERTConfig()) == expected


def test_the_parameters_of_a_llama_style_model_worked_by_hand():
    config = GPTConfig(
        **WIDE, num_kv_heads=1, positions="rotary", activation="swiglu", norm="rms", bias=False, tie_embeddings=False
    )
    attention = 64 * 64 + 2 * 64 * 32 + 64 * 64  # two heads of 32 for queries, one for keys and one for values
    feed_forward = 3 * 64 * 128
    assert count_parameters(config) == 2 * 200 * 64 + 2 * (attention + feed_forward + 2 * 64) + 64


@all_families
@pytest.mark.parametrize("norm_order", ["pre", "post"])
def test_a_model_without_norms_has_no_parameters_of_them(family, norm_order):
    shapes = parameter_shapes(family(**SMALL, norm="none", norm_order=norm_order))
    assert shapes == shapes_of_model(family(**SMALL, norm="none", norm_order=norm_order))
    assert not [name for name in shapes if "norm" in name]


def test_the_parameters_of_a_model_without_norms_worked_by_hand():
    # Nanda et al. 2023, arXiv:2301.05217, section 3, here with biases: 113 numbers, and five tokens that are no numbers
    config = GPTConfig(
        vocab_size=118, context=3, d_model=128, num_heads=4, num_layers=1, d_ff=512, norm="none", tie_embeddings=False
    )
    attention = 4 * (128 * 128 + 128)
    feed_forward = 128 * 512 + 512 + 512 * 128 + 128
    assert count_parameters(config) == 2 * 118 * 128 + 3 * 128 + attention + feed_forward


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


def test_gpt2_small_has_as_many_parameters_as_the_published_model():
    assert count_parameters(GPTConfig()) == count(GPTConfig()) == 124_439_808


@gpt_and_transformer
def test_the_same_seed_gives_the_same_bits_and_another_seed_different_weights(family):
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


@gpt_and_transformer
def test_the_value_of_a_parameter_does_not_depend_on_the_number_of_others(family):
    shallow = initial_weights(family(**SMALL, bias=False), 1)
    deep = initial_weights(family(**SMALL | {"num_layers": 5}), 1)
    for name, value in shallow.items():
        # GPT's matrices that write to the residual stream are scaled by 1 / sqrt(2L)
        scaled = family is GPTConfig and name.endswith((".output_projection.weight", ".linear2.weight"))
        np.testing.assert_allclose(value, deep[name] * (math.sqrt(5 / 2) if scaled else 1.0), rtol=1e-6)


def assert_std(value: np.ndarray, expected: float, label: str = "") -> None:
    """The deviation of n normal draws is known to 1 / sqrt(2n); five times that is allowed."""
    assert value.std() == pytest.approx(expected, rel=5 / math.sqrt(2 * value.size)), label


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        (GPTConfig(**WIDE), 1),
        (GPTConfig(**WIDE), 2),
        (BERTConfig(**WIDE, segments=200, tie_embeddings=False), 1),
        (ClassifierConfig(**WIDE, segments=200, num_classes=50), 1),
        (ClassifierConfig(**WIDE, body="gpt", pooling="last", num_classes=50), 1),
    ],
)
def test_standard_deviations_are_those_of_gpt2_and_bert_and_a_classifiers_those_of_its_body(config, seed: int):
    in_gpt = "gpt" in (config.kind, getattr(config, "body", ""))
    for name, value in initial_weights(config, seed).items():
        if value.ndim == 1:
            assert (value == (0.0 if name.endswith("bias") else 1.0)).all(), name
        else:
            scaled = in_gpt and (".output_projection." in name or "linear2" in name)
            assert_std(value, 0.02 / math.sqrt(2 * 2) if scaled else 0.02, name)


@all_families
def test_ngram_embeddings_are_zero_at_first(family):
    weights = initial_weights(family(**SMALL, ngram_buckets=13), 1)
    assert [value.any() for name, value in weights.items() if "ngrams" in name] == [False, False]


@all_families
def test_zero_outputs_zeroes_residual_outputs_and_an_untied_projection_and_nothing_else(family):
    config = family(**SMALL, tie_embeddings=False)
    plain, zeroed = (initial_weights(dataclasses.replace(config, zero_outputs=zero), 1) for zero in (False, True))
    ends = ("attention.output_projection.weight", "feed_forward.linear2.weight", "class_projection.weight")
    for name, value in zeroed.items():
        if name.endswith(ends) or name == "output_projection.weight":
            assert not value.any(), name
            assert plain[name].any(), name
        else:
            assert np.array_equal(value, plain[name]), name


@gpt_and_transformer
@pytest.mark.parametrize(("scaled", "expected"), [(True, 1 / 8), (False, 0.02)])
def test_scaled_embeddings_have_variance_one_over_the_width(family, scaled: bool, expected: float):
    assert_std(initial_weights(family(**WIDE, scale_embeddings=scaled), 1)["embedding.weight"], expected)


@pytest.mark.parametrize(
    ("ending", "fan_in", "fan_out"),
    [
        (".qkv_projection.weight", 64, 64),  # three square matrices, each with its own fans
        (".kv_projection.weight", 64, 64),
        (".query_projection.weight", 64, 64),
        (".output_projection.weight", 64, 64),
        (".linear1.weight", 64, 128),
        (".linear2.weight", 128, 64),
    ],
)
def test_matrices_of_the_transformer_are_uniform_within_glorots_bound(ending: str, fan_in: int, fan_out: int):
    bound = math.sqrt(6 / (fan_in + fan_out))
    values = [value for name, value in initial_weights(TransformerConfig(**WIDE), 1).items() if name.endswith(ending)]
    assert values
    for value in values:
        assert 0.99 * bound < np.abs(value).max() <= np.float32(bound)
        assert value.std() == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(value.size))


@pytest.mark.parametrize("ending", [".qkv_projection.weight", ".query_projection.weight", ".output_projection.weight"])
def test_glorots_bound_is_that_of_wider_heads(ending: str):
    config = TransformerConfig(**WIDE, head_width=100)  # two of them
    bound = math.sqrt(6 / (64 + 200))
    for value in (value for name, value in initial_weights(config, 1).items() if name.endswith(ending)):
        assert 0.99 * bound < np.abs(value).max() <= np.float32(bound)


@gpt_and_transformer
def test_build_fills_the_model_with_the_initial_weights(family):
    config = family(**SMALL)
    expected = initial_weights(config, 3)
    for name, parameter in build(config, 3).named_parameters():
        assert parameter.requires_grad
        np.testing.assert_array_equal(parameter.detach().numpy(), expected[name])
