"""A new model predicts nothing, all of its parameters can learn, and loading names weights that do not fit."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from clearformer.blocks.decoder import DecoderLayer
from clearformer.blocks.encoder import EncoderLayer
from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build, build_unfilled, load_weights
from clearformer.models.initial import RESIDUAL_OUTPUTS, initial_weights

SIZES = {"vocab_size": 500, "context": 32, "d_model": 64, "num_heads": 4, "num_layers": 2, "d_ff": 128}
CONFIGS = {config.kind: config for config in (GPTConfig, TransformerConfig, BERTConfig, ClassifierConfig)}

gpt_and_transformer = pytest.mark.parametrize("family", [GPTConfig, TransformerConfig])


def logits(model: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Of any family; a second segment, if there is one, begins in the middle."""
    if model.config.kind == "gpt":
        return model(tokens)
    real = torch.ones_like(tokens, dtype=torch.bool)
    if model.config.kind == "transformer":
        return model(tokens.flip(1), tokens, real, real)
    return model(tokens, real, (torch.arange(tokens.shape[1]) >= tokens.shape[1] // 2).long().expand_as(tokens))


def train_a_step(model: torch.nn.Module, tokens: torch.Tensor) -> None:
    model.zero_grad()
    cross_entropy(logits(model, tokens).flatten(0, 1), tokens.flatten()).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


@pytest.mark.parametrize("kind", CONFIGS)
def test_an_unfilled_model_lacks_nothing_but_the_values_of_its_parameters(kind: str, variant):
    config = CONFIGS[kind](**SIZES | variant)
    model, expected = build_unfilled(config), build(config, 1)
    shapes = {name: weight.shape for name, weight in model.named_parameters(remove_duplicate=False)}
    assert shapes == {name: weight.shape for name, weight in expected.named_parameters(remove_duplicate=False)}
    assert len(list(model.parameters())) == len(list(expected.parameters()))  # tied ones are one
    assert all(weight.is_meta and weight.requires_grad for weight in model.parameters())
    for (name, buffer), other in zip(model.named_buffers(), expected.buffers(), strict=True):
        assert torch.equal(buffer, other), name


@gpt_and_transformer
def test_the_initial_loss_is_that_of_random_logits(family, variant):
    model = build(family(**SIZES | variant), 1).eval()
    tokens, targets = torch.randint(500, (2, 16, 32))
    loss = cross_entropy(logits(model, tokens).flatten(0, 1), targets.flatten()).item()
    # logits of variance s² add s²/2 to ln V: s² is D · 0.02² = 0.03 in a GPT, and 1 where rows have variance 1/D
    variance = 64 * 0.02**2 if family is GPTConfig else 1.0
    assert loss == pytest.approx(math.log(500) + variance / 2, abs=0.2)


@pytest.mark.parametrize("kind", ["gpt", "transformer", "bert", "classifier", "classifier-gpt"])
def test_every_parameter_receives_a_gradient(kind: str, variant):
    # GELU and no dropout: a ReLU or dropout may be zero for all of a few tokens
    settings = {"classifier": {"pooling": "mean", "segments": 2}, "classifier-gpt": {"body": "gpt", "pooling": "mean"}}
    choices = SIZES | {"activation": "gelu", "dropout": 0.0} | variant | settings.get(kind, {})
    model = build(CONFIGS[kind.removesuffix("-gpt")](**choices), 1)
    tokens, targets = torch.randint(500, (2, 4, 32))
    out = logits(model, tokens)
    targets = targets if out.dim() == 3 else targets[:, 0] % 2  # a token for each position, or a class for each text
    cross_entropy(out.flatten(0, -2), targets.flatten()).backward()
    for name, parameter in model.named_parameters():
        # every row, thus every head of a fused projection; of an embedding that is not tied, the rows of tokens in use.
        # The bias of keys has no gradient: it adds the same to all scores of a query
        used = parameter.grad.flatten(1).abs().amax(1) > 0 if parameter.dim() == 2 else parameter.grad.abs() > 0
        if name.endswith("embedding.weight") and (kind.startswith("classifier") or not model.config.tie_embeddings):
            used = used[tokens.unique()]
        if name.endswith("relative.weight"):  # far keys, and a key behind its query at distance 0, do not occur
            used = used[: model.config.window or 8]
        may_be_zero = choices["activation"] == "squared_relu" and name.endswith("linear1.weight")
        assert used.any() if may_be_zero or name.endswith("bias") else used.all(), name


@pytest.mark.parametrize("kind", ["gpt", "transformer", "bert"])
def test_with_zero_outputs_every_layer_is_the_identity_and_untied_logits_are_zero(kind: str, variant):
    choices = SIZES | variant | {"norm_order": "pre", "zero_outputs": True, "tie_embeddings": False, "dropout": 0.0}
    model = build(CONFIGS[kind](**choices), 1)
    calls: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in model.modules():
        if isinstance(module, EncoderLayer | DecoderLayer):
            module.register_forward_hook(lambda _, inputs, out: calls.append((inputs[0], out)))
    tokens = torch.randint(500, (2, 8))
    assert logits(model, tokens).abs().max() == 0.0
    assert len(calls) == (4 if kind == "transformer" else 2)
    for before, after in calls:
        assert torch.equal(before, after)
        assert before.abs().min() < before.abs().max()
    train_a_step(model, tokens)
    assert logits(model, tokens).abs().max() > 0.0


@pytest.mark.parametrize("body", ["bert", "gpt"])
def test_with_zero_outputs_logits_of_a_classifier_are_zero(body: str):
    model = build(ClassifierConfig(**SIZES, zero_outputs=True, body=body, pooling="mean"), 1)
    assert logits(model, torch.randint(500, (3, 8))).abs().max() == 0.0


def test_with_zero_outputs_gradients_reach_logits_then_residual_outputs_then_the_rest():
    model = build(GPTConfig(**SIZES, zero_outputs=True, tie_embeddings=False, bias=False, dropout=0.0), 1)
    learning = []
    for _ in range(3):
        train_a_step(model, torch.randint(500, (4, 32)))
        learning.append({name for name, parameter in model.named_parameters() if parameter.grad.any()})
    assert learning[0] == {"output_projection.weight"}
    assert all(name.endswith(RESIDUAL_OUTPUTS) or "layers" not in name for name in learning[1])
    assert learning[2] == {name for name, _ in model.named_parameters()}


@gpt_and_transformer
def test_heads_are_not_copies_of_each_other(family):
    for name, parameter in build(family(**SIZES), 1).named_parameters():
        if name.endswith("qkv_projection.weight"):
            heads = parameter.detach().view(12, 16, 64).flatten(1)  # queries, keys, values of four heads
            similarity = torch.corrcoef(heads).fill_diagonal_(0.0)
            assert similarity.abs().max() < 5 / math.sqrt(16 * 64), name  # five standard deviations from none


@gpt_and_transformer
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
        model.embedding.weight[9] += 1.0  # not in the text, so only its own logit can change
    assert (model(tokens) != before).any(1)[0].nonzero().flatten().tolist() == [9]


@gpt_and_transformer
def test_a_new_model_is_in_training_mode_and_dropout_is_off_in_evaluation(family):
    model, tokens = build(family(**SIZES, dropout=0.5), 1), torch.randint(500, (2, 8))
    assert model.training
    assert not torch.equal(logits(model, tokens), logits(model, tokens))
    model.eval()
    assert torch.equal(logits(model, tokens), logits(model, tokens))


@pytest.mark.parametrize(("family", "expected"), [(GPTConfig, 0.3), (TransformerConfig, 0.0)])
def test_only_gpt_drops_attention_weights_as_in_the_papers(family, expected: float):
    cores = [module for module in build(family(**SIZES, dropout=0.3), 1).modules() if hasattr(module, "causal")]
    assert {core.dropout for core in cores} == {expected}


def test_loading_names_a_missing_unexpected_or_misshapen_weight():
    config = GPTConfig(**SIZES)
    model, weights = build(config, 1), initial_weights(config, 2)
    name = "decoder.norm.bias"
    with pytest.raises(AssertionError, match=f"names differ: .*{name}"):
        load_weights(model, {key: value for key, value in weights.items() if key != name})
    with pytest.raises(AssertionError, match=r"names differ: .*surplus"):
        load_weights(model, weights | {"surplus": weights[name]})
    with pytest.raises(AssertionError, match=rf"{name}: .*\[64\].*\(63,\)"):
        load_weights(model, weights | {name: weights[name][1:]})
