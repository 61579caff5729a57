"""`assert_sound` in a user's test is silent where all checks pass, and else raises with a report."""

import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks import Subject, assert_sound, check_model
from clearformer.checks.check import Check
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.outcome import DoesNotApply, Outcome, passed
from clearformer.checks.probe.probe import Probe


class Model(nn.Module):
    """A running mean of embeddings, or a mean of all."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.table = nn.Embedding(11, 11)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        counts = torch.arange(1, x.shape[1] + 1)[:, None]
        return x.cumsum(1) / counts if self.causal else x.mean(1, keepdim=True).expand_as(x)


def subject(causal: bool) -> Subject:
    return Subject(Model(causal), lambda model, tokens: model(tokens), vocab_size=11, context=16)


def test_a_sound_model_passes_in_silence():
    assert_sound(subject(causal=True), only=["masks.future"])


def test_an_unsound_model_fails_with_the_diagnosis():
    with pytest.raises(AssertionError) as caught:
        assert_sound(subject(causal=False), only=["masks.future"])
    message = str(caught.value)
    assert re.match(r"1 failed, in \d+ s\n\nmasks.future FAILED \(", message)
    assert "no future token influences a past logit\n    measured" in message
    assert message.endswith("clearformer check --explain masks.future")


def test_a_test_that_checks_nothing_does_not_pass(monkeypatch: pytest.MonkeyPatch):
    def nothing(_: Probe) -> Outcome:
        raise DoesNotApply("there is no cache")

    monkeypatch.setitem(CHECKS, "cache.nothing", Check("", nothing))
    with pytest.raises(AssertionError, match=r"nothing was checked:\ncache.nothing: there is no cache"):
        assert_sound(subject(causal=True), only=["cache.nothing"])


def test_a_slow_check_that_was_not_run_is_among_the_results_and_runs_when_selected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CHECKS, "masks.slow", Check("", lambda _: passed(0.0, 1.0), slow_from=1))

    def status(**options: object) -> str:
        results = check_model(subject(causal=True), skip=["masks.past"], **options)
        return next(result.outcome.status for result in results if result.id == "masks.slow")

    assert status(only=["masks"]) == "not run"
    assert status(only=["masks"], slow=True) == "passed"
    assert status(only=["masks.slow"]) == "passed"


def test_importing_the_package_takes_no_torch():
    code = "import sys, clearformer.checks as c; c.Subject; print('torch' in sys.modules, sorted(c.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False ['PartSubject', 'Subject', 'assert_sound', 'check_model']\n"
