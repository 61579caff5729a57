"""Arguments that are taken are used, and none is written to."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.recognise import recognise
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 8, 16


class Tiny(nn.Module):
    """Segments, positions and a mask of real tokens; a mean over the past takes the place of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.segments, self.head = nn.Embedding(2, D), nn.Linear(D, V)

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        where = torch.arange(tokens.shape[1]) if position_ids is None else position_ids
        x = self.embedding(tokens) + self.positions(where)
        x = x if token_type_ids is None else x + self.segments(token_type_ids)
        x = x if attention_mask is None else x * attention_mask[..., None]
        return self.head(x.cumsum(1))


class OnlyItsMaskIsUsed(Tiny):
    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,  # noqa: ARG002
        token_type_ids: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        return super().forward(tokens, attention_mask)


class OfTokensAlone(Tiny):
    def forward(self, tokens: Tensor) -> Tensor:
        return super().forward(tokens)


def check(name: str, model: nn.Module, **fields: Any) -> Outcome:
    fields = {"call": lambda model, tokens: model(tokens), "vocab_size": V, "context": CONTEXT} | fields
    return run_check(Subject(model, **fields), CHECKS[f"arguments.{name}"], seed=1)


def test_all_arguments_that_are_used_are_named():
    outcome = check("used", Tiny())
    assert (outcome.status, outcome.notes) == ("passed", ("used: attention_mask, position_ids, token_type_ids",))


def test_arguments_without_influence_are_named():
    outcome = check("used", OnlyItsMaskIsUsed())
    assert (outcome.status, outcome.cause) == ("failed", "unused")
    assert outcome.case == "position_ids, token_type_ids: the logits do not depend on it"


def test_without_such_arguments_or_where_forward_is_not_called_nothing_is_said():
    assert check("used", OfTokensAlone()).status == "does not apply"
    past_forward = {"call": lambda model, tokens: OnlyItsMaskIsUsed.forward(model, tokens)}
    assert check("used", OnlyItsMaskIsUsed(), **past_forward).status == "does not apply"


def loss(change: Callable[[Tensor], Any]) -> Callable[..., Tensor]:
    def of_labels(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
        change(labels)
        return nn.functional.cross_entropy(model(tokens).flatten(0, 1), labels.flatten().clamp(min=0))

    return of_labels


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"call": lambda model, tokens: model(tokens.clamp_(max=3))}, "call"),
        ({"padded": lambda model, tokens, real: model(tokens, real.logical_not_())}, "padded"),
        ({"step": lambda model, tokens, cache: (model(tokens.clamp_(max=3)), cache)}, "step"),
        ({"loss": loss(lambda labels: labels.masked_fill_(labels == -100, 0))}, "loss"),
    ],
)
def test_what_is_written_to_is_named(fields: dict[str, Any], name: str):
    outcome = check("unchanged", Tiny(), **fields)
    assert (outcome.status, outcome.cause) == ("failed", "in-place")
    assert outcome.case.startswith(f"Subject.{name} has written to 1 of the ")


class Writing(Tiny):
    """Methods that write to what they are given, and one that may, since it is given its cache."""

    def compute_loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        targets[targets < 0] = 0
        return nn.functional.cross_entropy(self(tokens).flatten(0, 1), targets.flatten())

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(self(batch.pop("tokens")).flatten(0, 1), batch["targets"].flatten())

    def fill_in(self, tokens: Tensor) -> Tensor:
        return tokens.masked_fill_(tokens == 1, 2)

    def advance(self, tokens: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        cache["read"] = tokens
        return self(tokens), cache


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"loss": lambda model, tokens, labels: model.compute_loss(tokens, labels.clone())}, "compute_loss(targets)"),
        (
            {"loss": lambda model, *both: model.training_step(dict(zip(("tokens", "targets"), both, strict=True)))},
            "training_step(batch)",
        ),
        ({"fill": lambda model, tokens: model.fill_in(tokens), "mask": 1}, "fill_in(tokens)"),
    ],
)
def test_a_method_that_writes_to_its_argument_is_named(fields: dict[str, Any], place: str):
    outcome = check("unchanged", Writing(), **fields)
    assert (outcome.status, outcome.case) == ("failed", f"model.{place} was written to")


@pytest.mark.parametrize("clamp", [torch.clamp, torch.clamp_])
def test_labels_of_a_loss_whose_formula_is_not_known_may_not_be_written_to(clamp: Callable[..., Tensor]):
    class Hinges(Tiny):
        def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Any:  # type: ignore[override]
            logits = super().forward(tokens)
            if labels is None:
                return logits
            own = logits.gather(2, clamp(labels, min=0)[..., None])
            return logits, (logits - own).relu().sum(-1)[labels >= 0].mean()

    outcome = run_check(recognise(Hinges()), CHECKS["arguments.unchanged"], seed=1)
    assert outcome.status == ("passed" if clamp is torch.clamp else "failed"), outcome


def test_a_cache_may_be_written_to():
    step = {"step": lambda model, tokens, cache: model.advance(tokens, {} if cache is None else cache)}
    assert check("unchanged", Writing(), **step).status == "passed"


def test_a_function_that_copies_passes():
    assert (
        check("unchanged", Tiny(), loss=loss(lambda labels: labels.masked_fill(labels == -100, 0))).status == "passed"
    )
