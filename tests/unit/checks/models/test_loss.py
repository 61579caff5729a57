"""The checks of the loss pass correct losses, and name each mistake."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Kind, Subject

V, D, START, PAD = 29, 16, 1, 0
NAMES = [name for name in CHECKS if name.startswith("loss.") and name not in ("loss.methods", "loss.binary")]
"""those that judge the loss that a subject names; `test_binary_loss.py` is about the labels that `forward` takes"""


class Model(nn.Module):
    """Any model: its loss is compared with its own logits. Dropout would change gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.output, self.dropout = nn.Embedding(V, D), nn.Linear(D, V), nn.Dropout(0.3)

    def forward(self, tokens: Tensor, source: Tensor | None = None) -> Tensor:
        x = self.embedding(tokens).cumsum(1)
        if source is not None:
            x = x + self.embedding(source).mean(1, keepdim=True)
        return self.output(self.dropout(x.tanh()))


def cross_entropy(logits: Tensor, labels: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), **options)


def causal(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(model(tokens)[:, :-1], labels[:, 1:])


def masked(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(model(tokens), labels)


def with_pad(labels: Tensor) -> Tensor:
    return labels.masked_fill(labels == -100, PAD)


def shifted_right(labels: Tensor, start: int = START) -> Tensor:
    return torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], 1)


def translation(model: nn.Module, source: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(model(shifted_right(with_pad(labels)), source), labels)


def smoothed(smoothing: float) -> Callable[..., Tensor]:
    return lambda m, t, y: cross_entropy(m(t)[:, :-1], y[:, 1:], label_smoothing=smoothing)


def smoothed_by_hand(on_target: float, on_each_other: float) -> Callable[..., Tensor]:
    """Smoothing weights that sum to on_target + (V - 1) · on_each_other."""

    def loss(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
        targets = labels[:, 1:]
        log_p = model(tokens)[:, :-1].log_softmax(-1)
        q = torch.full_like(log_p, on_each_other).scatter(-1, targets.clamp(min=0)[..., None], on_target)
        return -(q * log_p).sum(-1)[targets != -100].mean()

    return loss


def by_token(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    """[B, T - 1]: 0 where the label is ignored."""
    return F.cross_entropy(model(tokens)[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")


def row_means(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    return (by_token(model, tokens, labels).sum(1) / (labels[:, 1:] != -100).sum(1)).mean()


def check(name: str, loss: Callable[..., Any], kind: Kind = "causal", **fields: Any) -> Outcome:
    call = (lambda m, s, t: m(t, s)) if kind == "encoder-decoder" else (lambda m, t: m(t))
    fields = {"call": call, "start": START if kind == "encoder-decoder" else None} | fields
    subject = Subject(Model(), kind=kind, vocab_size=V, reserved=(PAD, START), loss=loss, pad=PAD, **fields)
    return run_check(subject, CHECKS[f"loss.{name}"], seed=1)


CORRECT: dict[Kind, Callable[..., Tensor]] = {
    "causal": causal,
    "bidirectional": masked,
    "encoder-decoder": translation,
}
# each takes the model, the tokens t or the source s, and the labels y
BUGS: list[tuple[str, Kind, str, Callable[..., Any]]] = [
    ("shift", "causal", "predicts-itself", masked),
    ("shift", "causal", "shifted-twice", lambda m, t, y: cross_entropy(m(t)[:, :-2], y[:, 2:])),
    ("shift", "causal", "backwards", lambda m, t, y: cross_entropy(m(t)[:, 1:], y[:, :-1])),
    ("shift", "causal", "wraps-around", lambda m, t, y: cross_entropy(m(t), y.roll(-1, 1))),
    ("shift", "causal", "probabilities", lambda m, t, y: cross_entropy(m(t)[:, :-1].softmax(-1), y[:, 1:])),
    ("shift", "causal", "summed", lambda m, t, y: cross_entropy(m(t)[:, :-1], y[:, 1:], reduction="sum")),
    ("shift", "causal", "other", lambda m, t, y: 2 * causal(m, t, y)),
    ("shift", "bidirectional", "shifted", causal),
    ("shift", "encoder-decoder", "predicts-itself", lambda m, s, y: cross_entropy(m(y, s), y)),
    (
        "shift",
        "encoder-decoder",
        "shifted-twice",
        lambda m, s, y: cross_entropy(m(shifted_right(y), s)[:, :-1], y[:, 1:]),
    ),
    ("shift", "encoder-decoder", "other", lambda m, s, y: cross_entropy(m(shifted_right(y, PAD), s), y)),
    ("padding", "causal", "padding-counted", lambda m, t, y: causal(m, t, with_pad(y))),
    ("padding", "causal", "padding-counted", lambda m, t, _: causal(m, t, t)),
    ("padding", "causal", "divided-by-all", lambda m, t, y: by_token(m, t, y).mean()),
    ("padding", "causal", "mean-of-rows", row_means),
    ("padding", "encoder-decoder", "padding-counted", lambda m, s, y: translation(m, s, with_pad(y))),
    ("masked-positions", "bidirectional", "all-positions", lambda m, t, _: masked(m, t, t)),
    ("masked-positions", "bidirectional", "all-positions", lambda m, t, y: masked(m, t, y.where(y != -100, t))),
    ("accumulation", "causal", "mean-of-rows", row_means),
    ("accumulation", "causal", "divided-by-all", lambda m, t, y: by_token(m, t, y).mean()),
    ("accumulation", "causal", "summed", lambda m, t, y: by_token(m, t, y).sum()),
]


@pytest.mark.parametrize(("name", "kind", "cause", "loss"), BUGS)
def test_each_mistake_is_caught_and_named(name: str, kind: Kind, cause: str, loss: Callable[..., Any]):
    outcome = check(name, loss, kind)
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", CORRECT)
def test_a_correct_loss_passes(name: str, kind: Kind):
    applies = kind in CHECKS[name].kinds
    outcome = check(name.removeprefix("loss."), CORRECT[kind], kind)
    assert outcome.status == ("passed" if applies else "does not apply"), outcome


@pytest.mark.parametrize("name", ["shift", "padding", "accumulation", "smoothing"])
@pytest.mark.parametrize("loss", [smoothed(0.1), smoothed_by_hand(0.9, 0.1 / (V - 1))])
def test_both_conventions_of_smoothing_pass(name: str, loss: Callable[..., Tensor]):
    assert check(name, loss, smoothing=0.1).status == "passed"


def test_a_loss_may_be_a_python_number():
    assert check("shift", lambda m, t, y: causal(m, t, y).item()).status == "passed"


def test_smoothing_weights_that_do_not_sum_to_one_are_caught():
    # 1 on the target and 0.1 / 29 on each of 29 more: 1.1 together
    outcome = check("smoothing", smoothed_by_hand(1 + 0.1 / V, 0.1 / V), smoothing=0.1)
    assert outcome.cause == "does-not-sum-to-one"
    assert outcome.measured == pytest.approx(0.1, abs=1e-4)  # noise of the fit: 1e-6 seen


@pytest.mark.parametrize(("real", "declared"), [(0.2, 0.1), (0.1, 0.0), (0.0, 0.1)])
def test_an_undeclared_smoothing_is_caught(real: float, declared: float):
    outcome = check("smoothing", smoothed(real), smoothing=declared)
    assert (outcome.status, outcome.cause) == ("failed", "other-smoothing")
    assert f"{real:.4f} spread" in outcome.case


WEIGHTS: dict[str, Callable[[int, int, int], float]] = {
    "": lambda count, total, _: count / total,
    "mean-of-means": lambda _count, _total, batches: 1 / batches,
    "not-divided": lambda *_: 1.0,
    "summed": lambda count, *_: float(count),
    "last-batch-only": lambda *_: 1.0,
}
"""by the cause that is named, the factor on a batch's mean loss, from its tokens, all batches' tokens and batches"""


def accumulate(model: nn.Module, batches: list[tuple[Tensor, Tensor]], cause: str) -> None:
    counts = [int((labels[:, 1:] != -100).sum()) for _, labels in batches]
    for (tokens, labels), count in zip(batches, counts, strict=True):
        if cause == "last-batch-only":
            model.zero_grad()
        (causal(model, tokens, labels) * WEIGHTS[cause](count, sum(counts), len(batches))).backward()


@pytest.mark.parametrize("cause", WEIGHTS)
def test_accumulated_gradients_are_compared_with_the_full_batch(cause: str):
    outcome = check("accumulation", causal, accumulate=lambda model, batches: accumulate(model, batches, cause))
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


def test_a_loss_without_the_ignore_index_crashes_with_its_message():
    outcome = check("padding", lambda m, t, y: cross_entropy(m(t)[:, :-1], y[:, 1:], ignore_index=PAD))
    assert outcome.status == "crashed"
    assert "-100" in outcome.case


def test_a_loss_that_is_no_scalar_crashes():
    assert "one number was expected" in check("shift", by_token).case


def test_with_equal_logits_the_check_does_not_apply():
    outcome = check("shift", lambda *_: math.log(V), call=lambda _, t: torch.zeros(*t.shape, V))
    assert outcome.status == "does not apply"


def test_without_a_start_token_the_check_does_not_apply_to_translation():
    outcome = check("shift", translation, "encoder-decoder", start=None)
    assert outcome.status == "does not apply"
    assert "start=" in outcome.case
