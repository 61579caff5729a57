"""The demo's proofs hold for correct models and fail for others."""

import pytest
import torch

from clearformer.blocks.attention import ScaledDotProductAttention
from clearformer.config import PaperSchedule
from clearformer.demo import proofs
from clearformer.runs.folder import RunFolder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]  # two runs are trained first, once


def test_a_barely_trained_model_does_not_pass_as_trained(dates: RunFolder, pydocs: RunFolder):
    verdict = proofs.training_helped(dates, pydocs)
    assert not verdict.holds
    assert "0.0% of 1,000 unseen dates exactly right" in verdict.measured


def test_a_correct_model_learns_a_tiny_set_and_one_that_cannot_learn_does_not(
    dates: RunFolder, monkeypatch: pytest.MonkeyPatch
):
    assert proofs.learns_a_tiny_set(dates).holds
    monkeypatch.setattr(proofs, "TINY_STEPS", 20)
    monkeypatch.setattr(proofs, "CosineSchedule", lambda peak: PaperSchedule(factor=1e-9 * peak))
    assert not proofs.learns_a_tiny_set(dates).holds


def test_reloading_is_proven_even_for_a_barely_trained_model(dates: RunFolder, pydocs: RunFolder):
    verdict = proofs.reloaded_is_the_same(dates, pydocs)
    assert verdict.holds
    assert verdict.measured.startswith("23 of 23 outputs the same")


def test_a_leak_of_the_future_is_found(dates: RunFolder, pydocs: RunFolder, monkeypatch: pytest.MonkeyPatch):
    assert proofs.no_token_sees_the_future(dates, pydocs).holds

    def unmasked(
        self: ScaledDotProductAttention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask=None, bias=None
    ):
        del self, mask, bias
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    monkeypatch.setattr(ScaledDotProductAttention, "forward", unmasked)
    assert not proofs.no_token_sees_the_future(dates, pydocs).holds
