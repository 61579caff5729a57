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
        {"num_heads": 4, "num_kv_heads": 2, "positions": "relative", "window": 3},
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


@pytest.mark.parametrize("family", ["gpt", "transformer", "bert", "classifier"])
def test_what_is_recorded_follows_from_what_was_recorded_before_it(family: str, tiny, inputs_of):
    """All kinds, each computed anew from another by the formula or by a layer's own weights."""
    model = tiny(family, norm_order="pre", num_kv_heads=1, activation="swiglu")
    inputs = inputs_of(model)
    with record(model) as trace:
        logits = model(*inputs)
    (output,) = trace["logits"].values()
    assert torch.equal(output, logits)
    stream = trace["stream"]
    for name in trace["feed_forward"]:
        layer, index = name.removesuffix(".feed_forward"), int(name.split(".")[-2])
        after = f"{layer[: -len(str(index))]}{index + 1}" if index + 1 < 2 else f"{layer.split('.layers')[0]}.norm"
        parts = [part for part in trace["attention_output"] if part.startswith(layer)]
        assert len(parts) == (2 if layer.startswith("decoder") and family == "transformer" else 1)
        for part in parts:
            queries, keys, values, weights = (
                trace[kind][f"{part}.core"] for kind in ("queries", "keys", "values", "attention")
            )
            scores = (queries @ keys.transpose(-2, -1) / 2.0).masked_fill(weights == 0.0, -torch.inf)  # E is 4
            torch.testing.assert_close(weights, scores.softmax(-1))
            torch.testing.assert_close(
                trace["heads"][f"{part}.core"], weights @ values
            )  # of the one head that all share
            heads = trace["heads"][f"{part}.core"].transpose(1, 2).flatten(2)
            projected = model.get_submodule(part).output_projection(heads)
            torch.testing.assert_close(trace["attention_output"][part], projected)
        neurons = model.get_submodule(name).linear2(trace["neurons"][f"{name}.linear2"])
        torch.testing.assert_close(trace["feed_forward"][name], neurons)
        total = stream[layer] + sum(trace["attention_output"][part] for part in parts) + neurons
        torch.testing.assert_close(stream[after], total)


def test_only_the_kinds_asked_for_are_recorded_and_a_trace_lists_them(tiny, inputs_of):
    model = tiny("gpt")
    with record(model, "heads", "logits") as trace:
        model(*inputs_of(model))
    assert repr(trace) == "Trace(heads 2, logits 1; trace[kind][name] is a tensor)"
    assert "<td>heads</td><td>decoder.layers.1.attention.core</td><td>2 × 2 × 6 × 4</td>" in trace._repr_html_()
