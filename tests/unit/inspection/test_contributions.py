"""Contributions sum to the logit, and each is what autograd says of the direct path alone."""

import pytest
import torch

from clearformer.blocks.norm import LayerNorm, RMSNorm
from clearformer.errors import InspectionError
from clearformer.inspection.contributions import contributions
from clearformer.inspection.places import places

# in float64: sums of up to 20 parts in another order, 6e-14 of 1 + the value seen
ROUNDING = 1e-11
VARIANTS = [
    {},
    {"norm": "rms", "bias": False, "activation": "swiglu"},
    {"norm": "none"},
    {"num_kv_heads": 1, "positions": "rotary", "tie_embeddings": False, "scale_embeddings": True},
    {"positions": "alibi", "head_width": 3, "window": 3, "qk_norm": True, "ngram_buckets": 5},
]
FAMILIES = [
    ("gpt", {}), ("transformer", {}), ("bert", {"segments": 2}),
    ("classifier", {"pooling": "first"}), ("classifier", {"pooling": "mean"}),
    ("classifier", {"body": "gpt", "pooling": "last"}),
]  # fmt: skip


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("choices", VARIANTS, ids=lambda choices: "-".join(choices) or "plain")
@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_contributions_sum_to_the_logit(family: str, kind: dict, choices: dict, order: str, tiny, inputs_of):
    model = tiny(family, **kind, **choices, norm_order=order).double()
    with torch.inference_mode():
        logits = model(*inputs_of(model))
    for position in (0, 3):
        found = contributions(model, inputs_of(model), token=1, position=position)
        expected = logits[:, 1] if family == "classifier" else logits[:, position, 1]
        torch.testing.assert_close(sum(found.values()), expected, atol=ROUNDING, rtol=ROUNDING)
    assert len(found) == 2 + (2 + 1) * 2 + (4 if family == "transformer" else 0)


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("family", ["gpt", "transformer", "classifier"])
def test_a_head_s_contribution_is_its_gradient_times_itself_on_the_direct_path(
    family: str, order: str, tiny, inputs_of, monkeypatch: pytest.MonkeyPatch
):
    """Autograd on a model whose norms have a constant scale and whose sub-layers' inputs are constants."""
    model = tiny(family, norm_order=order).double()
    inputs = inputs_of(model)
    found = contributions(model, inputs, token=1, position=4)

    def constant_scale(self, x: torch.Tensor) -> torch.Tensor:
        variance = x.detach().var(-1, keepdim=True, unbiased=False)
        return (x - x.mean(-1, keepdim=True)) / (variance + self.eps).sqrt() * self.weight + self.bias

    monkeypatch.setattr(LayerNorm, "forward", constant_scale)
    by_kind, heads = places(model), {}
    for kind in ("attention_output", "feed_forward"):
        for module in by_kind[kind].values():
            module.register_forward_pre_hook(lambda _, inputs: tuple(x if x is None else x.detach() for x in inputs))
    for name, module in by_kind["heads"].items():
        leaf = lambda _core, _in, out, name=name: heads.setdefault(name, out.detach().requires_grad_())  # noqa: E731
        module.register_forward_hook(leaf)
    logits = model(*inputs)
    (logits[:, 1] if family == "classifier" else logits[:, 4, 1]).sum().backward()
    compared = 0
    for name, out in heads.items():
        if out.grad is None:  # the encoder of a translator
            continue
        index, part = name.split(".")[-3:-1]
        cross = " cross-attention" if part == "cross_attention" else ""
        for head in range(2):
            expected = (out.grad * out)[:, head].sum((-1, -2))
            torch.testing.assert_close(found[f"layer {index}{cross} head {head}"], expected)
            compared += 1
    assert compared == (8 if family == "transformer" else 4)


def test_a_logit_under_a_cap_is_explained_before_the_cap(tiny, inputs_of):
    model = tiny("gpt", logit_cap=3.0).double()
    found = sum(contributions(model, inputs_of(model), token=5, position=2).values())
    torch.testing.assert_close(3.0 * torch.tanh(found / 3.0), model(*inputs_of(model))[:, 2, 5].detach())


def test_dropout_and_numbers_out_of_range_are_refused(tiny, inputs_of):
    model = tiny("gpt")
    for changed, words in (
        ({"token": 11}, "token must be from -11 to 10, found 11"),
        ({"position": 6}, "position must"),
    ):
        with pytest.raises(InspectionError, match=words):
            contributions(model, inputs_of(model), **({"token": 0} | changed))
    with pytest.raises(InspectionError, match=r"found it in training mode; call model.eval\(\) first"):
        contributions(model.train(), inputs_of(model), token=0)


def test_rms_norm_has_no_mean_to_subtract(tiny, inputs_of):
    model = tiny("gpt", norm="rms", num_layers=1, bias=False).double()
    assert isinstance(model.decoder.norm, RMSNorm)
    found = contributions(model, inputs_of(model), token=3, position=0)
    assert (found["biases"] == 0.0).all()
