"""Recorded attention is what the model really attended to, and recording leaves no trace."""

import torch

from clearformer.blocks.attention import ScaledDotProductAttention
from clearformer.config import GPTConfig, TransformerConfig
from clearformer.inspection.record import record
from clearformer.models.build import build

SIZES = {"vocab_size": 20, "context": 16, "d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 32, "dropout": 0.0}
# the kernel sums 8 products and 7 weighted values in another order: 2.4e-7 seen, allowed four times that
KERNEL_TOLERANCE = 1e-6


def test_recorded_weights_times_the_values_are_what_the_kernel_returned():
    model = build(GPTConfig(**SIZES), seed=1).eval()
    seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for name, core in model.named_modules():
        if isinstance(core, ScaledDotProductAttention):
            core.register_forward_hook(lambda _core, inputs, out, name=name: seen.update({name: (inputs[2], out)}))
    with record(model) as trace:
        model(torch.arange(7)[None])
    assert trace.attention.keys() == seen.keys()
    assert len(seen) == 2
    for name, (values, out) in seen.items():
        torch.testing.assert_close(trace.attention[name] @ values, out, atol=KERNEL_TOLERANCE, rtol=0)


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
    kept = dict(trace.attention)
    after = model(tokens + 1)
    assert torch.equal(before, during)
    assert not torch.equal(before, after)
    assert all(trace.attention[name] is kept[name] for name in kept)


def test_hooks_go_even_when_the_model_fails():
    model = build(GPTConfig(**SIZES), seed=1)
    try:
        with record(model):
            raise RuntimeError("inside")
    except RuntimeError:
        assert not any(module._forward_pre_hooks for module in model.modules())
    else:
        raise AssertionError("the error was swallowed")
