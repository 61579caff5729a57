"""A fresh model knows nothing, all of it can learn, and loading names what does not fit."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from clearformer.config import GPTConfig, TransformerConfig
from clearformer.models.build import build, load_weights
from clearformer.models.initial import initial_weights

SIZES = {"vocab_size": 500, "context": 32, "d_model": 64, "num_heads": 4, "num_layers": 2, "d_ff": 128}
VARIANTS = [
    {"norm": norm, "norm_order": order, "positions": positions, "tie_embeddings": tied}
    for norm, order, positions, tied in (
        ("layer", "pre", "learned", True),
        ("layer", "post", "sinusoidal", True),
        ("rms", "pre", "sinusoidal", False),
        ("rms", "post", "learned", False),
    )
]


def logits(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    if isinstance(model.config, GPTConfig):
        return model(tokens)
    real = torch.ones_like(tokens, dtype=torch.bool)
    return model(tokens.flip(1), tokens, real, real)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_the_initial_loss_is_that_of_a_model_that_knows_nothing(family, variant):
    model = build(family(**SIZES, **variant), 1).eval()
    tokens, targets = torch.randint(500, (2, 16, 32))
    loss = cross_entropy(logits(model, tokens).flatten(0, 1), targets.flatten()).item()
    # logits of variance s² add s²/2 to ln V: s² is D · 0.02² = 0.03 in a GPT, and 1 where rows have variance 1/D
    variance = 64 * 0.02**2 if family is GPTConfig else 1.0
    assert loss == pytest.approx(math.log(500) + variance / 2, abs=0.2)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_every_parameter_receives_a_gradient(family, variant):
    # GELU, since a ReLU may be silent on all of a few tokens; no dropout, since it may silence anything
    model = build(family(**SIZES, **variant, activation="gelu", dropout=0.0), 1)
    tokens, targets = torch.randint(500, (2, 4, 32))
    cross_entropy(logits(model, tokens).flatten(0, 1), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        # all rows: of a vocabulary, those in use; of a fused projection, those of every head (but a bias of keys has
        # none: it adds the same to all scores of a query)
        used = parameter.grad.flatten(1).abs().amax(1) > 0 if parameter.dim() == 2 else parameter.grad.abs() > 0
        if name == "embedding.weight" and not variant["tie_embeddings"]:
            used = used[tokens.unique()]
        assert used.any() if name.endswith("bias") else used.all(), name


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_heads_are_not_copies_of_each_other(family):
    for name, parameter in build(family(**SIZES), 1).named_parameters():
        if name.endswith("qkv_projection.weight"):
            heads = parameter.detach().view(12, 16, 64).flatten(1)  # queries, keys, values of four heads
            similarity = torch.corrcoef(heads).fill_diagonal_(0.0)
            assert similarity.abs().max() < 5 / math.sqrt(16 * 64), name  # five standard deviations from none


@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])
def test_tied_is_one_matrix_with_one_gradient_and_untied_are_two(family):
    model = build(family(**SIZES), 1)
    assert model.output_projection.weight is model.embedding.weight
    untied = build(family(**SIZES, tie_embeddings=False), 1)
    assert untied.output_projection.weight is not untied.embedding.weight
    assert not torch.equal(untied.output_projection.weight, untied.embedding.weight)
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (untied, model)]
    assert sizes[0] - sizes[1] == 500 * 64


def test_a_tied_output_projection_moves_with_the_embedding(tiny):
    model = tiny("gpt")
    tokens = torch.tensor([[1, 2, 3]])
    before = model(tokens)
    with torch.no_grad():
        model.embedding.weight[9] += 1.0  # a token that is not in the text can only change its own logit
    changed = (model(tokens) - before).abs().amax((0, 1)) > 0
    assert changed.tolist() == [token == 9 for token in range(11)]


def test_the_families_start_in_training_mode_with_dropout_on_and_evaluation_turns_it_off():
    for family in (GPTConfig, TransformerConfig):
        model, tokens = build(family(**SIZES, dropout=0.5), 1), torch.randint(500, (2, 8))
        assert model.training
        assert not torch.equal(logits(model, tokens), logits(model, tokens))
        model.eval()
        assert torch.equal(logits(model, tokens), logits(model, tokens))


def test_only_gpt_drops_attention_weights_as_the_papers_have_it():
    for family, expected in ((GPTConfig, 0.3), (TransformerConfig, 0.0)):
        cores = [module for module in build(family(**SIZES, dropout=0.3), 1).modules() if hasattr(module, "causal")]
        assert {core.dropout for core in cores} == {expected}


def test_loading_names_what_is_missing_unexpected_or_misshapen():
    config = GPTConfig(**SIZES)
    model, weights = build(config, 1), initial_weights(config, 2)
    name = "decoder.norm.bias"
    with pytest.raises(AssertionError, match=f"names differ: .*{name}"):
        load_weights(model, {key: value for key, value in weights.items() if key != name})
    with pytest.raises(AssertionError, match=r"names differ: .*surplus"):
        load_weights(model, weights | {"surplus": weights[name]})
    with pytest.raises(AssertionError, match=rf"{name}: .*\[64\].*\(63,\)"):
        load_weights(model, weights | {name: weights[name][1:]})
