"""A step with a cache is found under any name, with any empty cache, and gives the logits of the call."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D, CONTEXT = 23, 8, 14
EXACT = 1e-5
"""float32 sums in another order differ by less than 1e-6 here"""


class Sums(nn.Module):
    """A causal model: logits of the sum of the tokens and positions so far, which is all that a cache has to hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def _sums(self, tokens: Tensor, past: Tensor | None, start: int) -> tuple[Tensor, Tensor]:
        x = self.tokens(tokens) + self.positions(torch.arange(start, start + tokens.shape[1]))
        x = x.cumsum(1) + (0 if past is None else past)
        return self.head(x.tanh()), x[:, -1:]

    def forward(self, tokens: Tensor) -> Any:
        return self._sums(tokens, None, 0)[0]


class InForward(Sums):
    def forward(self, tokens: Tensor, layer_past: Any = None, use_cache: bool = False) -> Any:
        past, start = layer_past or (None, 0)
        logits, past = self._sums(tokens, past, start)
        return (logits, (past, start + tokens.shape[1])) if use_cache else logits


class OneToken(Sums):
    def step(self, token: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        past, start = state or (None, 0)
        logits, past = self._sums(token, past, start)
        return logits[:, -1], (past, start + 1)


class OneTokenOfEachRow(Sums):
    def decode(self, token: Tensor, kv_cache: Any, pos: int) -> tuple[Any, Tensor]:
        assert token.dim() == 1
        logits, past = self._sums(token[:, None], kv_cache, pos)
        return past, logits[:, 0]


class WithFactory(Sums):
    def init_cache(self, batch_size: int, max_len: int) -> dict[str, Any]:
        return {"past": torch.zeros(batch_size, 1, D), "length": 0, "limit": max_len}

    def forward_cached(self, tokens: Tensor, cache: dict[str, Any]) -> Tensor:
        assert cache["length"] + tokens.shape[1] <= cache["limit"]
        logits, cache["past"] = self._sums(tokens, cache["past"], cache["length"])
        cache["length"] += tokens.shape[1]
        return logits


class LayerCache:
    def __init__(self, n_layers: int) -> None:
        self.past: list[Tensor | None] = [None] * n_layers
        self.length = 0


class GivenAnObject(Sums):
    def forward(self, tokens: Tensor, cache: LayerCache | None = None) -> Tensor:
        cache = LayerCache(1) if cache is None else cache
        logits, cache.past[0] = self._sums(tokens, cache.past[0], cache.length)
        cache.length += tokens.shape[1]
        return logits


class OnTheModel(Sums):
    past: Tensor | None = None

    def forward(self, tokens: Tensor, start_pos: int) -> Tensor:
        logits, self.past = self._sums(tokens, self.past if start_pos else None, start_pos)
        return logits


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (
            InForward,
            "model(tokens, layer_past, use_cache=True): a step takes any number of tokens, and the caller",
        ),
        (OneToken, "model.step(token, state): a step takes one token, and the caller"),
        (OneTokenOfEachRow, "model.decode(token, kv_cache, pos): a step takes one token of each row, [B]"),
        (WithFactory, "model.forward_cached(tokens, cache): a step takes any number of tokens"),
        (GivenAnObject, "model(tokens, cache): a step takes any number of tokens, and the caller keeps the cache"),
        (OnTheModel, "model(tokens, start_pos): a step takes any number of tokens, and the model keeps the cache"),
    ],
)
def test_a_step_is_found_and_continues_from_its_cache(family: type[Sums], words: str):
    model = family()
    subject = recognise(model)
    assert subject.ways[0].startswith(words)
    tokens = torch.randint(V, (2, 6))
    first, cache = subject.step(model, tokens[:, :4], None)
    second, cache = subject.step(model, tokens[:, 4:5], cache)
    third, _ = subject.step(model, tokens[:, 5:], cache)
    expected = Sums.forward(model, tokens)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), expected, atol=EXACT, rtol=0)


def test_only_one_sequence_is_stepped_where_the_model_keeps_the_cache():
    subject = recognise(OnTheModel())
    statuses = {name: run_check(subject, CHECKS[name], seed=1).status for name in ("cache.steps", "cache.read-only")}
    assert statuses == {"cache.steps": "passed", "cache.read-only": "does not apply"}


class ForgetsPosition(InForward):
    def forward(self, tokens: Tensor, layer_past: Any = None, use_cache: bool = False) -> Any:
        return super().forward(tokens, None if layer_past is None else (layer_past[0], 0), use_cache)


def test_a_wrong_step_is_found_too_and_fails():
    assert run_check(recognise(ForgetsPosition()), CHECKS["cache.steps"], seed=1).status == "failed"


class AdvancesAState(Sums):
    """Nothing in its names says that it takes a cache."""

    start = 0

    def advance(self, token: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        past, _ = state or (None, 0)
        logits, past = self._sums(token, past, self.start)
        return logits, (past, 0)


class AlwaysAtOne(AdvancesAState):
    start = 1


@pytest.mark.parametrize("family", [AdvancesAState, AlwaysAtOne])
def test_a_wrong_step_without_telling_names_is_found_by_what_its_state_changes(family: type[Sums]):
    assert run_check(recognise(family()), CHECKS["cache.steps"], seed=1).status == "failed"


class TwoSteps(InForward):
    def step(self, token: Tensor, past: Any = None) -> Any:
        return self(token, None, use_cache=True) if past is None else self(token, (past[0], 0), use_cache=True)


def test_a_second_step_is_checked_as_well():
    subject = recognise(TwoSteps())
    assert run_check(subject, CHECKS["cache.steps"], seed=1).status == "passed"
    outcome = run_check(subject, CHECKS["cache.methods"], seed=1)
    assert outcome.status == "failed"
    assert outcome.case.startswith("model.step(token, past): ")


class SharesItsDefault(WithFactory):
    """With a cache that the caller makes it is right, and without one all texts share the first."""

    def forward_cached(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        if cache is None:
            cache = self.__dict__.setdefault("default", self.init_cache(len(tokens), CONTEXT))
        return super().forward_cached(tokens, cache), cache


def test_a_step_is_checked_without_a_cache_at_first_too():
    outcome = run_check(recognise(SharesItsDefault()), CHECKS["cache.methods"], seed=1)
    assert (outcome.status, outcome.cause) == ("failed", "kept-between-texts")
    assert outcome.case.startswith("model.forward_cached(tokens, cache), first without cache: ")


class OtherState(Sums):
    """Its `state` is no cache, and a step without one would be wrong."""

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> Tensor:
        logits = super().forward(tokens)
        return logits if state is None else logits + state


def test_a_cache_that_only_the_caller_can_make_is_not_taken_for_one_that_is_forgotten():
    class OfTheCaller(Sums):
        """As in a well-known book's repository: an object of a class beside the model, which it fills."""

        def forward(self, tokens: Tensor, use_cache: bool = False, cache: Any = None) -> Tensor:
            past, start = cache.get() if cache else (None, 0)
            logits, past = self._sums(tokens, past, start)
            if use_cache and cache:
                cache.update(past, start + tokens.shape[1])
            return logits

    assert recognise(OfTheCaller()).step is None


def test_an_argument_that_only_may_be_a_cache_is_not_taken_for_one():
    assert recognise(OtherState()).step is None
