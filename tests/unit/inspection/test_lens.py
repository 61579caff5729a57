"""The logit lens at a point is a model that ends there."""

import copy
import re

import pytest
import torch
from torch import nn

from clearformer.errors import InspectionError
from clearformer.inspection.lens import logit_lens
from clearformer.models.build import Model

FAMILIES = ("gpt", "transformer", "bert", "classifier")


def cut(model: Model, layers: int) -> Model:
    """A copy without the layers from this one on; a classifier's also without pooling."""
    short = copy.deepcopy(model)
    body = short.body if model.config.kind == "classifier" else short
    stack = body.decoder if hasattr(body, "decoder") else body.encoder
    stack.layers = nn.ModuleList(stack.layers[:layers])
    short.forward = short.token_logits if model.config.kind == "classifier" else short.forward
    return short


@pytest.mark.parametrize("order", ["pre", "post"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_lens_is_what_the_model_says_without_its_last_layers(family: str, order: str, tiny, inputs_of):
    model = tiny(family, norm_order=order, num_layers=3, logit_cap=4.0).double()
    found = logit_lens(model, inputs_of(model))
    assert len(found) == 4
    for point, logits in enumerate(found):
        with torch.inference_mode():
            torch.testing.assert_close(logits, cut(model, point)(*inputs_of(model)))


def test_a_classifier_that_pools_by_the_mean_says_the_mean_of_the_last_point(tiny, inputs_of):
    model = tiny("classifier", body="gpt", pooling="mean")
    inputs = inputs_of(model, [1])  # four tokens and padding
    with torch.inference_mode():
        torch.testing.assert_close(logit_lens(model, inputs)[-1][0, :4].mean(0), model(*inputs)[0])


def test_another_s_model_is_refused():
    words = "a Transformer, GPT, BERT or Classifier of this package was expected, found Linear"
    with pytest.raises(InspectionError, match=re.escape(words)):
        logit_lens(nn.Linear(2, 2), ())
