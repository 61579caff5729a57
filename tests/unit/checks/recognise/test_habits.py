"""Habits that are right are recognised: logits that stand at what they predict, experts with places, penalties."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D, CONTEXT = 29, 8, 16


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.context_length = CONTEXT
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def features(self, x: Tensor) -> Tensor:
        x = x + self.positions.weight[: x.shape[1]]
        return x + F.scaled_dot_product_attention(x, x, x, is_causal=True)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(self.tokens(x)))


class ShiftsInside(Body):
    """Logits at t predict the token at t: a vector is put in front, and the last token is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, D))

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        return self.head(self.features(torch.cat([self.start.expand(len(x), -1, -1), x[:, :-1]], dim=1)))


class Experts(Body):
    """Two experts, each of which takes so many tokens of the batch. With `mixes`, a mean over the rows is added."""

    def __init__(self, mixes: bool = False) -> None:
        super().__init__()
        self.mixes = mixes
        self.router, self.experts = nn.Linear(D, 2), nn.ModuleList([nn.Linear(D, D) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(self.tokens(x))
        flat = y.flatten(0, 1)
        gates, chosen = self.router(flat).softmax(-1).max(-1)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            taken = (chosen == number).nonzero()[: len(flat) // 2, 0]
            out[taken] = gates[taken, None] * expert(flat[taken])
        y = y + out.view_as(y)
        return self.head(y + y.mean(0, keepdim=True) if self.mixes else y)


class Penalised(Body):
    def loss(self, x: Tensor) -> Tensor:
        logits = self(x[:, :-1])
        return F.cross_entropy(logits.mT, x[:, 1:]) + 1e-3 * logits.logsumexp(-1).square().mean()


class PenalisedUnshifted(Body):
    def loss(self, x: Tensor) -> Tensor:
        logits = self(x)
        return F.cross_entropy(logits.mT, x) + 1e-3 * logits.logsumexp(-1).square().mean()


class Tagger(Body):
    """Scores of labels that follow each other, which only the loss reads."""

    def __init__(self) -> None:
        super().__init__()
        self.follow = nn.Parameter(torch.randn(V, V))

    def neg_log_likelihood(self, words: Tensor, tags: Tensor) -> Tensor:
        scores = self(words)
        total = scores.gather(-1, tags[..., None]).sum() + self.follow[tags[:, :-1], tags[:, 1:]].sum()
        return scores.logsumexp(-1).sum() - total


class InBits(Body):
    def loss(self, x: Tensor) -> Tensor:
        return F.cross_entropy(self(x[:, :-1]).mT, x[:, 1:]) / math.log(2)


class OfPairs(Body):
    """A vector a text; the loss says which belong together, at a temperature that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.head(self.features(self.tokens(x))).mean(1), dim=-1)

    def loss(self, queries: Tensor, answers: Tensor) -> Tensor:
        return F.cross_entropy(self(queries) @ self(answers).T / self.temperature, torch.arange(len(queries)))


class Focal(Body):
    """A classifier whose loss counts what is uncertain. With `summed`, the sum of the cross-entropy."""

    def __init__(self, summed: bool = False) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(self.tokens(x))).mean(1)

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(self(x), labels, reduction="none")
        return each.sum() if self.summed else ((1 - torch.exp(-each)) ** 2 * each).mean()


class OfVectors(nn.Module):
    """Vectors [B, T, 6], of which there may be 20."""

    def __init__(self) -> None:
        super().__init__()
        self.project, self.positions = nn.Linear(6, D), nn.Parameter(torch.randn(1, 20, D))
        self.head = nn.Linear(D, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x) + self.positions[:, : x.shape[1]]
        return self.head((x + F.scaled_dot_product_attention(x, x, x)).mean(1))


class WidensItsVectors(Body):
    """Narrow vectors of tokens are widened, and queries, keys and values are narrower again, as in ConvBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(D, 2 * D)
        self.queries, self.keys, self.values = (nn.Linear(2 * D, D) for _ in range(3))

    def features(self, x: Tensor) -> Tensor:
        x = self.widen(x + self.positions.weight[: x.shape[1]])
        return F.scaled_dot_product_attention(self.queries(x), self.keys(x), self.values(x), is_causal=True)


class OneMatrixAfterTheOther(Body):
    def __init__(self) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(D, 2 * D), nn.Linear(2 * D, D)

    def features(self, x: Tensor) -> Tensor:
        return self.narrow(self.widen(super().features(x)))


@pytest.mark.parametrize(("family", "status"), [(WidensItsVectors, "passed"), (OneMatrixAfterTheOther, "failed")])
def test_what_several_matrices_read_is_no_feed_forward_network(family: type[Body], status: str):
    assert run_check(recognise(family()), CHECKS["numbers.activation"], seed=1).status == status


class LikeTransformers(Body):
    """The mask is 1 for real tokens; with `turned` it is taken for 1 where padding is."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.padding = int(turned)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = (mask == self.padding) if attention_mask is not None else torch.zeros_like(mask, dtype=torch.bool)
        x = self.tokens(input_ids) + self.positions.weight[: input_ids.shape[1]]
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        hidden = (hidden[:, None] | later) & ~torch.eye(x.shape[1], dtype=torch.bool)
        return self.head(x + (x @ x.mT / D**0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ x)


@pytest.mark.parametrize(("turned", "status"), [(False, "passed"), (True, "failed")])
def test_an_attention_mask_beside_input_ids_is_one_for_real_tokens(turned: bool, status: str):
    assert run_check(recognise(LikeTransformers(turned)), CHECKS["batches.right-padding"], seed=1).status == status


class WeighsItsLosses(Body):
    """The second argument says what counts, whatever it is called; `moved` is how far it is moved, which must be 1."""

    def __init__(self, moved: int) -> None:
        super().__init__()
        self.moved = moved

    def compute_loss(self, x: Tensor, m: Tensor) -> Tensor:
        losses = F.cross_entropy(self(x)[:, :-1].mT, x[:, 1:], reduction="none")
        m = m[:, self.moved : self.moved + losses.shape[1]]
        return (losses * m).sum() / m.sum()


@pytest.mark.parametrize(("moved", "status"), [(1, "passed"), (0, "failed")])
def test_an_argument_of_any_name_may_say_which_losses_count(moved: int, status: str):
    assert run_check(recognise(WeighsItsLosses(moved)), CHECKS["loss.padding"], seed=1).status == status


def test_logits_that_stand_at_what_they_predict_are_moved():
    model = ShiftsInside()
    subject = recognise(model)
    tokens = torch.randint(V, (2, 6))
    assert subject.context == CONTEXT - 1
    torch.testing.assert_close(subject.call(model, tokens[:, :5]), model(tokens)[:, 1:])
    for name in ("masks.future", "masks.past", "order.matters"):
        assert run_check(subject, CHECKS[name], seed=1).status == "passed"


def test_logits_of_the_next_token_are_left_where_they_are():
    model = Body()
    tokens = torch.randint(V, (2, 6))
    torch.testing.assert_close(recognise(model).call(model, tokens), model(tokens))


def test_rows_that_compete_for_experts_are_computed_alone():
    model = Experts()
    subject = recognise(model)
    tokens = torch.randint(V, (3, 9))
    torch.testing.assert_close(subject.call(model, tokens)[1:2], model(tokens[1:2]))
    assert run_check(subject, CHECKS["batches.independent"], seed=1).status == "passed"
    assert run_check(recognise(Experts(mixes=True)), CHECKS["batches.independent"], seed=1).cause == "rows-mixed"


@pytest.mark.parametrize(
    ("family", "status"), [(Penalised, "passed"), (InBits, "passed"), (PenalisedUnshifted, "failed")]
)
def test_bits_and_a_penalty_on_the_normaliser_are_taken_out_of_the_loss(family: type[Body], status: str):
    assert run_check(recognise(family()), CHECKS["loss.shift"], seed=1).status == status


def test_parameters_of_a_loss_are_learned_elsewhere():
    assert recognise(Tagger()).learned_elsewhere == ("follow",)
    assert recognise(OfPairs()).learned_elsewhere == ("temperature",)


def test_vectors_of_length_one_are_no_logits_that_could_be_learned():
    assert run_check(recognise(OfPairs()), CHECKS["learning.one-batch"], seed=1).status == "does not apply"


@pytest.mark.parametrize(("summed", "outcome"), [(False, ("does not apply", "")), (True, ("failed", "summed"))])
def test_a_classifier_may_have_another_loss_than_cross_entropy(summed: bool, outcome: tuple[str, str]):
    found = run_check(recognise(Focal(summed)), CHECKS["loss.classes"], seed=1)
    assert (found.status, found.cause) == outcome


def test_the_number_of_vectors_is_found_by_trying():
    assert recognise(OfVectors()).context == 20
