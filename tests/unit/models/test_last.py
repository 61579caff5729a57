"""The logits of the last token alone, and their gradients, are those of the whole model."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from clearformer.config import GPTConfig
from clearformer.data.modular import Equations, equations
from clearformer.errors import ConfigError
from clearformer.models.build import build
from clearformer.models.gpt import GPT
from clearformer.models.last import last_logits
from clearformer.recipes import grok, grok_quick
from clearformer.training.loss import mean_loss

SAME = 1e-9
"""float64 sums of a few hundred terms of size 1 in another order: 1e-13 seen"""
SINGLE = 1e-5
"""float32 means of 4,705 losses of size 5 in another order: 1e-7 seen"""
BASE = GPTConfig(12, context=5, d_model=16, num_heads=4, num_layers=1, d_ff=24, dropout=0.0, initial_std=0.3)
VARIANTS = {
    "grokking": replace(BASE, norm="none", activation="relu", tie_embeddings=False),
    "norms and sinusoids": replace(BASE, norm="layer", positions="sinusoidal", scale_embeddings=True),
    "wide heads": replace(BASE, head_width=7, num_kv_heads=2),
    "grouped heads with norms": replace(BASE, norm="rms", qk_norm=True, num_kv_heads=2, bias=False, logit_cap=9.0),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_last_logits_and_their_gradients_are_those_of_the_whole_model(config: GPTConfig):
    model = build(config, seed=1).double()
    tokens = torch.randint(12, (7, 4), generator=torch.Generator().manual_seed(1))
    found, expected = last_logits(model, tokens), model(tokens)[:, -1:]
    torch.testing.assert_close(found, expected, atol=SAME, rtol=SAME)
    weights, direction = list(model.parameters()), torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, weights, direction), torch.autograd.grad(expected, weights, direction), strict=True
    ):
        torch.testing.assert_close(one, other, atol=SAME, rtol=SAME)


@pytest.mark.parametrize(("setting", "value"), [("num_layers", 2), ("positions", "rotary"), ("window", 2)])
def test_settings_with_which_other_tokens_matter_are_refused(setting: str, value: object):
    config = grok()
    with pytest.raises(ConfigError, match=rf"model.{setting} must be .* where train.last_only is set"):
        replace(config, model=replace(config.model, **{setting: value}))


def test_a_held_out_loss_of_answers_alone_is_that_of_the_whole_model():
    config = grok_quick()
    assert config.modular is not None
    rows = np.array(equations(config.modular, seed=1).validation)
    (batch,) = Equations(rows, config.modular.modulus, config.train.batch_tokens, seed=1).in_order()
    model = build(config.model, seed=1)
    logits, answers = model(torch.as_tensor(batch.inputs[0]))[:, -1], torch.as_tensor(batch.targets)[:, -1]
    expected = torch.nn.functional.cross_entropy(logits, answers).item()
    with patch.object(GPT, "forward", side_effect=AssertionError("every position was computed")):
        assert mean_loss(model, [batch]) == pytest.approx(expected, rel=SINGLE)
