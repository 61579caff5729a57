"""The model's own losses are found, and what each expects of its labels, by comparing values with known formulas."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 8, 14
EXACT = 1e-5
"""float32 sums in another order differ by less than 1e-6 here"""


class Averages(nn.Module):
    """A causal model: logits of the mean of the tokens so far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        return self.head(x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None])


def mean_loss(logits: Tensor, targets: Tensor, **options: Any) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **options)


class GivenShifted(Averages):
    def compute_loss(self, x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(self(x), y)


class ShiftsItself(Averages):
    def lm_loss(self, tokens: Tensor, labels: Tensor) -> Tensor:
        return mean_loss(self(tokens)[:, :-1], labels[:, 1:])


class Alone(Averages):
    def loss(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens[:, :-1]), tokens[:, 1:], ignore_index=0)


class OfLogits(Averages):
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return mean_loss(logits, targets, ignore_index=-1)


class OfPairs(Averages):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:  # noqa: ARG002
        x, y = batch
        return {"loss": mean_loss(self(x), y)}


class OfDictionaries(Averages):
    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        return mean_loss(self(batch["input_ids"]), batch["target_ids"])


class LossAlone(Averages):
    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Tensor:
        logits = super().forward(idx)
        return logits if targets is None else mean_loss(logits, targets)


class InAnObject(Averages):
    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Any:
        logits = super().forward(tokens)
        loss = None if labels is None else mean_loss(logits[:, :-1], labels[:, 1:])
        return SimpleNamespace(logits=logits, loss=loss)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (GivenShifted, "model.compute_loss(tokens, labels): labels belong to the tokens in their place"),
        (ShiftsItself, "model.lm_loss(tokens, labels): it shifts the labels by one itself"),
        (Alone, "model.loss(tokens): it makes the labels from the tokens"),
        (OfLogits, "model.loss(logits, labels): labels belong"),
        (OfPairs, "model.training_step((tokens, labels)): labels belong"),
        (OfDictionaries, "model.training_step({tokens, labels}): labels belong"),
        (LossAlone, "model(tokens, targets=labels): labels belong"),
        (InAnObject, "model(tokens, labels=labels): it shifts"),
    ],
)
def test_a_loss_is_found_with_what_it_expects_of_labels(family: type[Averages], words: str):
    model = family()
    subject = recognise(model)
    assert subject.ways[0].startswith(words)
    tokens = torch.randint(1, V, (2, 6))
    labels = tokens.clone()
    labels[0, 4:] = -100
    predicted = [(0, t) for t in range(3)] + [(1, t) for t in range(5)]
    log_p = Averages.forward(model, tokens).log_softmax(-1)
    expected = -sum(log_p[b, t, tokens[b, t + 1]] for b, t in predicted) / len(predicted)
    torch.testing.assert_close(subject.loss(model, tokens, labels), expected, atol=EXACT, rtol=0)


def test_the_token_that_a_loss_ignores_is_padding():
    subject = recognise(Alone())
    assert (subject.pad, subject.reserved) == (0, (0,))


class Smoothed(Averages):
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(self(x), y, label_smoothing=0.15)


def test_label_smoothing_is_measured():
    assert recognise(Smoothed()).smoothing == pytest.approx(0.15, abs=1e-4)


class Pair(nn.Module):
    """An encoder-decoder: logits of the mean of the target so far plus that of the source."""

    bos_idx = 1

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        x = self.tokens(tgt)
        x = x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
        return self.head(x + self.tokens(src).mean(1, keepdim=True))


class WholeTarget(Pair):
    def loss(self, src: Tensor, tgt: Tensor) -> Tensor:
        return mean_loss(self(src, tgt[:, :-1]), tgt[:, 1:], ignore_index=0)


class ApartFromLabels(Pair):
    def compute_loss(self, src: Tensor, tgt: Tensor, labels: Tensor) -> Tensor:
        return mean_loss(self(src, tgt), labels)


class FromLabels(Pair):
    def loss(self, src: Tensor, labels: Tensor) -> Tensor:
        start = torch.full_like(labels[:, :1], 2)
        decoder_tokens = torch.cat([start, labels[:, :-1]], dim=1)
        return mean_loss(self(src, decoder_tokens.clamp(min=0)), labels)


@pytest.mark.parametrize(("family", "start"), [(WholeTarget, 1), (ApartFromLabels, 1), (FromLabels, 2)])
def test_the_loss_of_an_encoder_decoder_is_found_with_its_first_token(family: type[Pair], start: int):
    model = family()
    subject = recognise(model)
    assert subject.start == start
    source, labels = torch.randint(3, V, (2, 5)), torch.randint(3, V, (2, 4))
    decoder_tokens = torch.cat([torch.full((2, 1), start), labels[:, :-1]], dim=1)
    expected = mean_loss(model(source, decoder_tokens), labels)
    torch.testing.assert_close(subject.loss(model, source, labels), expected, atol=EXACT, rtol=0)


class PredictsItself(Averages):
    def loss(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens), tokens)


class LikeTransformersWithoutShift(Averages):
    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        logits = super().forward(input_ids)
        return logits, None if labels is None else mean_loss(logits, labels)


class ShiftedTwice(Averages):
    def loss(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens)[:, :-2], tokens[:, 2:])


class SecondSummed(GivenShifted):
    def training_loss(self, x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(self(x), y, reduction="sum")


class CountsPadding(Averages):
    pad_idx = 0

    def loss(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens)[:, :-1], tokens[:, 1:])


@pytest.mark.parametrize(
    ("family", "check", "cause"),
    [
        (PredictsItself, "loss.shift", "predicts-itself"),
        (LikeTransformersWithoutShift, "loss.shift", "predicts-itself"),
        (ShiftedTwice, "loss.shift", "shifted-twice"),
        (SecondSummed, "loss.methods", "summed"),
        (CountsPadding, "loss.padding", "padding-counted"),
    ],
)
def test_a_wrong_loss_is_found_too_and_fails(family: type[Averages], check: str, cause: str):
    outcome = run_check(recognise(family()), CHECKS[check], seed=1)
    assert (outcome.status, outcome.cause) == ("failed", cause)


class Bidirectional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Any:
        x = self.tokens(tokens)
        logits = self.head(x + x.mean(1, keepdim=True))
        return logits, None if labels is None else mean_loss(logits, labels)


def test_labels_of_a_bidirectional_model_are_aligned():
    subject = recognise(Bidirectional(), kind="bidirectional")
    assert subject.ways[0].endswith("each label belongs to the token in its place.")
    assert run_check(subject, CHECKS["loss.masked-positions"], seed=1).status == "passed"


class Masked(Averages):
    """Its padding is told by a mask, and counts in the mean or not."""

    pad_idx, counts_padding = 0, False

    def loss(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        real = torch.ones_like(tokens) if mask is None else mask
        each = mean_loss(self(tokens)[:, :-1], tokens[:, 1:], reduction="none").view(len(tokens), -1)
        return (each * real[:, 1:]).sum() / (real[:, 1:].numel() if self.counts_padding else real[:, 1:].sum())


class CountsMasked(Masked):
    counts_padding = True


class Numbers(Averages):
    def loss(self, tokens: Tensor) -> float:
        return mean_loss(self(tokens)[:, :-1], tokens[:, 1:]).item()


class Divergence(Averages):
    """Smoothed targets without the padding token, and their Kullback-Leibler divergence."""

    pad_idx = 0

    def loss(self, tokens: Tensor) -> Tensor:
        log_p, targets = self(tokens)[:, :-1].log_softmax(-1).flatten(0, 1), tokens[:, 1:].flatten()
        wanted = torch.full_like(log_p, 0.2 / (V - 2)).scatter(1, targets[:, None], 0.8)
        wanted[:, self.pad_idx] = 0
        wanted[targets == self.pad_idx] = 0
        return F.kl_div(log_p, wanted, reduction="sum") / (targets != self.pad_idx).sum()


@pytest.mark.parametrize(
    ("family", "causes"),
    [
        (Masked, {}),
        (Divergence, {}),
        (CountsMasked, {"loss.padding": "divided-by-all"}),
        (Numbers, {"loss.trains": "no-gradient"}),
    ],
)
def test_losses_with_masks_smoothed_targets_or_without_gradients(family: type[Averages], causes: dict[str, str]):
    subject = recognise(family())
    outcomes = {
        check: run_check(subject, CHECKS[check], seed=1) for check in ("loss.shift", "loss.padding", "loss.trains")
    }
    assert {check: outcome.cause for check, outcome in outcomes.items() if outcome.status == "failed"} == causes


class HidesPadding(Averages):
    """Hidden tokens count as none, in `forward` and in the loss."""

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        real = torch.ones_like(tokens) if mask is None else mask
        x = self.tokens(tokens) * real[..., None]
        return self.head(x.cumsum(1) / real.cumsum(1).clamp(min=1)[..., None])

    def loss(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        labels = tokens if mask is None else tokens.masked_fill(mask == 0, -100)
        return mean_loss(self.logits_of(tokens, mask)[:, :-1], labels[:, 1:])

    def logits_of(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        return self(tokens, mask)


class ForgetsTheMask(HidesPadding):
    def logits_of(self, tokens: Tensor, _mask: Tensor | None) -> Tensor:
        return self(tokens)


@pytest.mark.parametrize(("family", "cause"), [(HidesPadding, ""), (ForgetsTheMask, "mask-not-passed")])
def test_a_loss_passes_on_the_mask_of_the_model(family: type[Averages], cause: str):
    outcome = run_check(recognise(family()), CHECKS["loss.padding"], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


class TwoHeads(Averages):
    def __init__(self) -> None:
        super().__init__()
        self.pooler, self.unused = nn.Linear(D, 2), nn.Linear(D, 2)

    def forward(self, tokens: Tensor) -> Any:
        return {"logits": super().forward(tokens), "pooled": self.pooler(self.tokens(tokens).mean(1))}


def test_parameters_of_another_output_are_learned_elsewhere():
    assert recognise(TwoHeads()).learned_elsewhere == ("pooler.bias", "pooler.weight")


@dataclass(slots=True)
class Output:
    logits: Tensor


def test_an_output_with_slots_is_recognised():
    class Slotted(Averages):
        def forward(self, tokens: Tensor) -> Any:
            return Output(super().forward(tokens))

    assert recognise(Slotted()).vocab_size == V


class Auxiliary(Averages):
    """A method whose name says loss and whose value is something else, of arguments that are not labels."""

    def loss_scale(self, factor: float, shift: float) -> Tensor:
        return torch.tensor(1.0) * factor.float().mean() + shift.float().mean()


def test_a_method_that_is_no_loss_of_labels_is_left_alone():
    subject = recognise(Auxiliary())
    assert (subject.loss, subject.ways) == (None, ())


class Balances(Averages):
    def router_loss(self, tokens: Tensor) -> Tensor:
        return self(tokens).square().mean()

    def objective(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens)[:, :-1], tokens[:, 1:])


def test_losses_of_something_else_are_left_alone():
    subject = recognise(Balances())
    assert (subject.loss.form.description, subject.losses) == ("model.objective(tokens)", {})


def test_a_given_subject_is_not_completed():
    assert recognise(Subject(GivenShifted(), lambda model, tokens: model(tokens), vocab_size=V)).loss is None


class OfContiguousTargets(Averages):
    """`view` takes no slice of a longer tensor, and a data loader gives none."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> Any:
        logits = super().forward(idx)
        return logits if targets is None else F.cross_entropy(logits.view(-1, V), targets.view(-1))


class WeightedBeside(Averages):
    """Weights say what counts, and another method takes no weights."""

    def compute_loss(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        each = mean_loss(self(x), y, reduction="none").view(y.shape)
        return each.mean() if sample_weight is None else (each * sample_weight).sum() / sample_weight.sum()

    def train_step(self, data: tuple[Tensor, Tensor]) -> Tensor:
        return self.compute_loss(*data)


@pytest.mark.parametrize("family", [OfContiguousTargets, WeightedBeside])
@pytest.mark.parametrize("check", ["loss.shift", "loss.padding", "loss.methods"])
def test_a_right_loss_passes_where_its_labels_are_shifted_or_weighted_by_the_caller(family: Any, check: str):
    assert run_check(recognise(family()), CHECKS[check], seed=1).status in ("passed", "does not apply")


class AddsABalance(Averages):
    """As of experts, whose balance depends on the tokens and not on the labels."""

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Any:
        logits = super().forward(tokens)
        if labels is None:
            return logits
        return mean_loss(logits[:, :-1], labels[:, 1:]) + 0.01 * self.tokens(tokens).square().mean(), logits


class LabelsThatFollow(Averages):
    """`labels` are what follows each token."""

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        logits = super().forward(input_ids)
        return logits if labels is None else (mean_loss(logits, labels), logits)


class DemandsAMask(Averages):
    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        tokens, real = batch["input_ids"], batch["attention_mask"][:, 1:]
        each = mean_loss(self(tokens)[:, :-1], tokens[:, 1:], reduction="none").view(real.shape)
        return self.mean(each, real)

    def mean(self, each: Tensor, real: Tensor) -> Tensor:
        return (each * real).sum() / real.sum()


class DividesByAll(DemandsAMask):
    def mean(self, each: Tensor, real: Tensor) -> Tensor:
        return (each * real).mean()


class LeavesOutTheEnd(Averages):
    pad_id, eos_id, left_out = 0, 1, 1

    def loss(self, tokens: Tensor) -> Tensor:
        return mean_loss(self(tokens[:, :-1]), tokens[:, 1:], ignore_index=self.left_out)


class LeavesOutPadding(LeavesOutTheEnd):
    left_out = 0


@pytest.mark.parametrize(
    ("family", "cause"),
    [
        (AddsABalance, ""),
        (LabelsThatFollow, ""),
        (DemandsAMask, ""),
        (DividesByAll, "divided-by-all"),
        (LeavesOutPadding, ""),
        (LeavesOutTheEnd, "end-ignored"),
    ],
)
def test_what_is_added_said_demanded_or_left_out_is_understood(family: type[Averages], cause: str):
    subject = recognise(family())
    outcomes = [run_check(subject, CHECKS[check], seed=1) for check in ("loss.shift", "loss.padding")]
    assert [outcome.status for outcome in outcomes] == ["passed", "failed" if cause else "passed"], outcomes
    assert outcomes[1].cause == cause


class MakesItsInput(Pair):
    shifts = True

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,  # noqa: ARG002
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Any:
        if decoder_input_ids is None and labels is not None:
            start = torch.full_like(labels[:, :1], 2)
            decoder_input_ids = torch.cat([start, labels[:, :-1]], dim=1) if self.shifts else labels
        logits = super().forward(input_ids, decoder_input_ids.clamp(min=0))
        return logits if labels is None else (mean_loss(logits, labels), logits)


class ReadsItsLabels(MakesItsInput):
    shifts = False


@pytest.mark.parametrize(("family", "causes"), [(MakesItsInput, set()), (ReadsItsLabels, {"predicts-itself"})])
def test_a_decoder_that_makes_its_input_of_labels_is_checked(family: type[Pair], causes: set[str]):
    subject = recognise(family())
    outcomes = [run_check(subject, CHECKS[check], seed=1) for check in ("loss.shift", "loss.methods")]
    assert {outcome.cause for outcome in outcomes if outcome.status == "failed"} == causes, outcomes
