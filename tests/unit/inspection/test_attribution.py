"""Integrated gradients are complete, are zero for what cannot matter, and agree with finite differences."""

import pytest
import torch

from clearformer.errors import InspectionError
from clearformer.inspection.attribution import integrated_gradients

FAMILIES = ["gpt", "transformer", "bert", "classifier"]
CHOICES = [{"norm_order": "post", "activation": "gelu"}, {"norm_order": "pre", "norm": "rms", "activation": "swiglu"}]
# 64 points integrate smooth functions exactly, in float64: 1e-15 seen; a ReLU's corners cost up to 1e-3
GAP = 1e-11


@pytest.mark.parametrize("choices", CHOICES, ids=["post", "pre"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attributions_sum_to_the_difference_from_a_text_without_words(family: str, choices: dict, tiny, inputs_of):
    model = tiny(family, **choices).double()
    inputs = inputs_of(model, [0])
    found = integrated_gradients(model, inputs, token=1, position=4)
    body = model.body if family == "classifier" else model
    whole = model(*inputs).detach()
    with body.embedding.register_forward_hook(lambda _module, _inputs, out: torch.zeros_like(out)):
        without = model(*inputs).detach()
    change = (whole - without)[0] if family == "classifier" else (whole - without)[0, 4]
    total = sum(text.sum() for text in found.texts)
    assert float(total - change[1]) == pytest.approx(found.gap, abs=GAP)
    assert abs(found.gap) < GAP
    assert abs(float(change[1])) > 0.001
    assert [len(text) for text in found.texts] == ([7, 6] if family == "transformer" else [6])
    assert not body.embedding._forward_hooks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_tokens_after_the_position_are_worth_nothing_to_a_causal_model(tiny, inputs_of):
    model = tiny("gpt")
    (found,) = integrated_gradients(model, inputs_of(model, [0]), token=1, position=2).texts
    assert (found[3:] == 0.0).all()
    assert (found[:3].abs() > 1e-3).all()


def test_attributions_are_the_path_integral_by_finite_differences(tiny, inputs_of):
    """The logit's change when one token's vector is scaled a little further, summed along the path."""
    model = tiny("gpt").double()
    inputs, points, h = inputs_of(model, [0]), 2000, 1e-5
    (found,) = integrated_gradients(model, inputs, token=3, position=5).texts
    scales = ((torch.arange(points) + 0.5) / points).double()
    for t in (0, 4):
        sides = []
        for step in (h, -h):
            factors = scales[:, None].repeat(1, 6)
            factors[:, t] += step
            with model.embedding.register_forward_hook(lambda _module, _in, out, f=factors: out * f[..., None]):
                sides.append(model(inputs[0].expand(points, -1))[:, 5, 3].detach())
        expected = ((sides[0] - sides[1]) / (2 * h)).mean()
        assert float(found[t]) == pytest.approx(float(expected), abs=1e-4)  # 2,000 midpoints, in 1e-6 of the integral


def test_several_texts_dropout_and_numbers_out_of_range_are_refused(tiny, inputs_of):
    model = tiny("bert")
    with pytest.raises(InspectionError, match="one text and a model without dropout were expected, found 2 and evalua"):
        integrated_gradients(model, inputs_of(model), token=1)
    with pytest.raises(InspectionError, match="token must be from -11 to 10, found -12"):
        integrated_gradients(model, inputs_of(model, [0]), token=-12)
    with pytest.raises(InspectionError, match="found 1 and training mode"):
        integrated_gradients(model.train(), inputs_of(model, [0]), token=1)
