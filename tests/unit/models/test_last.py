"""The logits of the last token alone, and their gradients, are those of the whole model."""

from dataclasses import replace

import pytest
import torch

from clearformer.config import GPTConfig
from clearformer.errors import ConfigError
from clearformer.models.build import build
from clearformer.models.last import last_logits
from clearformer.recipes import grok

SAME = 1e-9
"""float64 sums of a few hundred terms of size 1 in another order: 1e-13 seen"""
BASE = GPTConfig(12, context=5, d_model=16, num_heads=4, num_layers=1, d_ff=24, dropout=0.0, initial_std=0.3)
VARIANTS = {
    "grokking": replace(BASE, norm="none", activation="relu", tie_embeddings=False),
    "norms and sinusoids": replace(BASE, norm="layer", positions="sinusoidal", scale_embeddings=True),
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
