"""Recorded attention is what the model used, and recording does not change the model."""

import pytest
import torch

from clearformer.blocks.attention import ScaledDotProductAttention
from clearformer.config import BERTConfig, GPTConfig, TransformerConfig
from clearformer.inspection.record import record
from clearformer.models.build import build

SIZES = {"vocab_size": 20, "context": 16, "d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 32, "dropout": 0.0}
# the kernel sums 8 products and 7 weighted values in another order, in float64: at most 5.2e-15, relative to
# 1 + the value
KERNEL_TOLERANCE = 1e-11


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"num_heads": 4, "num_kv_heads": 2},
        {"num_heads": 4, "num_kv_heads": 1, "positions": "rotary", "qk_norm": True},
        {"positions": "alibi"},
        {"num_heads": 4, "num_kv_heads": 2, "positions": "alibi", "window": 3},
    ],
    ids=lambda choices: "-".join(choices) or "plain",
)
@pytest.mark.parametrize("family", [GPTConfig, TransformerConfig, BERTConfig])
def test_recorded_weights_times_the_values_are_what_the_kernel_returned(family, choices, scramble):
    model = build(family(**SIZES | choices), seed=1).eval()
    scramble(model.double())
    calls: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name, core in model.named_modules():
        if isinstance(core, ScaledDotProductAttention):
            core.register_forward_hook(lambda _core, inputs, out, name=name: calls.update({name: (inputs[2], out)}))
    tokens, real = torch.arange(14).view(2, 7), torch.arange(7) < torch.tensor([[7], [4]])
    inputs = {
        "gpt": (tokens,),
        "transformer": (tokens.flip(1), tokens, real, real),
        "bert": (tokens, real, torch.zeros_like(tokens)),
    }[family.kind]
    with record(model) as trace:
        model(*inputs)
    assert trace.attention.keys() == calls.keys()
    assert len(calls) == (6 if family is TransformerConfig else 2)
    for name, (values, out) in calls.items():
        weights, group_size = trace.attention[name], out.shape[1] // values.shape[1]
        shared = torch.stack([values[:, head // group_size] for head in range(out.shape[1])], 1)
        assert (weights - weights[:, :, :, :1]).abs().max() > 0.01  # attention is not uniform
        torch.testing.assert_close(weights @ shared, out, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


def test_recorded_rows_sum_to_one_and_respect_every_mask():
    model = build(TransformerConfig(**SIZES), seed=1).eval()
    source, target = torch.arange(5)[None], torch.arange(4)[None]
    real = torch.tensor([[True, True, True, False, False]])
    with record(model) as trace:
        model(source, target, real, torch.ones_like(target).bool())
    assert sorted(trace.attention) == sorted(
        [f"encoder.layers.{i}.attention.core" for i in range(2)]
        + [f"decoder.layers.{i}.{part}.core" for i in range(2) for part in ("attention", "cross_attention")]
    )
    for name, weights in trace.attention.items():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        if name.startswith("decoder.layers.0.attention"):
            assert weights.triu(1).max() == 0.0
        else:
            is_source = not name.endswith(".attention.core") or name.startswith("encoder")
            assert not is_source or weights[..., 3:].max() == 0.0


def test_recording_changes_nothing_and_ends_with_its_block():
    model = build(GPTConfig(**SIZES), seed=1).eval()
    tokens = torch.arange(6)[None]
    before = model(tokens)
    with record(model) as trace:
        during = model(tokens)
    recorded = dict(trace.attention)
    after = model(tokens + 1)
    assert torch.equal(before, during)
    assert not torch.equal(before, after)
    assert all(trace.attention[name] is recorded[name] for name in recorded)


def test_hooks_are_removed_even_when_the_model_fails():
    model = build(GPTConfig(**SIZES), seed=1)
    try:
        with record(model):
            raise RuntimeError("inside")
    except RuntimeError:
        assert not any(module._forward_pre_hooks for module in model.modules())
    else:
        raise AssertionError("the error was swallowed")
