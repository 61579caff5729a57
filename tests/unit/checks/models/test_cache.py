"""The checks of the cache pass a correct model, and name each planted bug of its cached path."""
# ruff: noqa: N806  # T and S are the letters of clearformer/shapes.py

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 16, 16
SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""
NAMES = [name.removeprefix("cache.") for name in CHECKS if name.startswith("cache.") and name != "cache.methods"]


def rotated(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions of halves: x [B, H, T, E] at positions [B, T]."""
    half = x.shape[-1] // 2
    angles = positions[:, None, :, None] / 100.0 ** (torch.arange(half) / half)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), dim=-1)


def positions_in(real: Tensor, length: int) -> Tensor:
    """[B, T], the positions of the last tokens: each counts the real tokens before it."""
    return (real.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]


def causal(like: Tensor) -> Tensor:
    """A mask [B, T, S] in which the last query is aligned with the last key."""
    return torch.ones_like(like).tril(like.shape[-1] - like.shape[-2])


class TinyGPT(nn.Module):
    """A cache is ([(keys, values) of each layer], which of its slots are real).

    Bugs change what is right: `positions(right [B, T], real [B, S], cached)`, `mask(right [B, T, S], real, cached)` and
    `past((keys, values) before, keys and values now)`.
    """

    def __init__(
        self,
        rotary: bool = False,
        positions: Callable[[Tensor, Tensor, bool], Tensor] = lambda right, *_: right,
        mask: Callable[[Tensor, Tensor, bool], Tensor] = lambda right, *_: right,
        past: Callable[[Any, Any], Any] = lambda past, _: past,
    ) -> None:
        super().__init__()
        self.rotary, self.change_positions, self.change_mask, self.change_past = rotary, positions, mask, past
        self.embedding, self.table, self.output = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)
        self.layers = nn.ModuleList(nn.Linear(D, 3 * D) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.run(tokens, torch.ones_like(tokens).bool(), None)[0]

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        return self.run(tokens, torch.ones_like(tokens).bool(), cache)

    def run(self, tokens: Tensor, new_real: Tensor, cache: Any) -> tuple[Tensor, Any]:
        cached, T = cache is not None, tokens.shape[1]
        layers_past, real_before = cache or ([None] * len(self.layers), new_real[:, :0])
        real = torch.cat((real_before, new_real), dim=1)
        positions = self.change_positions(positions_in(real, T), real, cached)
        mask = causal(torch.ones(len(tokens), T, real.shape[1]).bool()) & real[:, None]
        mask = self.change_mask(mask, real, cached)[:, None]
        x = self.embedding(tokens) if self.rotary else self.embedding(tokens) + self.table(positions)
        present = []
        for layer, norm, past in zip(self.layers, self.norms, layers_past, strict=True):
            q, k, v = layer(norm(x)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
            if self.rotary:
                q, k = rotated(q, positions), rotated(k, positions)
            if past is not None:
                k, v = (torch.cat(pair, dim=2) for pair in zip(self.change_past(past, (k, v)), (k, v), strict=True))
            present.append((k, v))
            scores = (q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).masked_fill(~mask, -1e9)
            x = x + (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return self.output(x), (present, real)


class StepsFromOne(TinyGPT):
    """Positions of steps begin at 1, as if counted after the new token was cached."""

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        self.change_positions = lambda right, *_: right + 1
        out = super().step(tokens, cache)
        self.change_positions = lambda right, *_: right
        return out


class OffsetStays(TinyGPT):
    """Stepping leaves a position on the module, and a forward pass without a cache begins there."""

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        self.change_positions = lambda right, *_: right
        out = super().step(tokens, cache)
        self.change_positions = lambda right, *_: right + 1
        return out


class ForwardResets(TinyGPT):
    """The position of the next token is kept on the module, and every forward pass overwrites it."""

    next_position = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.next_position = 0
        return super().forward(tokens)

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        if cache is None:
            self.next_position = 0
        self.change_positions = lambda right, *_: self.next_position + restarted(right)
        out = super().step(tokens, cache)
        self.next_position += tokens.shape[1]
        return out


class OtherPath(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        return logits * 1.1, cache


class NaNBeyond(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        return (logits if cache[1].shape[1] <= CONTEXT else logits * torch.nan), cache


class OnTheModule(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, self.stored = super().step(tokens, self.stored if cache else None)
        return logits, "on the module"


class NeverEmptied(TinyGPT):
    stored: Any = None

    def step(self, tokens: Tensor, _cache: Any) -> tuple[Tensor, Any]:
        self.change_positions = lambda right, *_: right % CONTEXT
        logits, self.stored = super().step(tokens, self.stored)
        return logits, "on the module"


class OneBuffer(TinyGPT):
    buffer: Tensor | None = None

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        if self.buffer is None or self.buffer.shape != logits.shape:
            self.buffer = torch.empty_like(logits)
        return self.buffer.copy_(logits), cache


def restarted(positions: Tensor, *_: object) -> Tensor:
    return torch.arange(positions.shape[1]).expand_as(positions)


def only_new(mask: Tensor, *_: object) -> Tensor:
    """Keys and values are cached and not read."""
    T, S = mask.shape[1:]
    return mask & (torch.arange(S) >= S - T)


def window_of_3(mask: Tensor, *_: object) -> Tensor:
    T, S = mask.shape[1:]
    return mask.triu(S - T - 2)


def other_corner(mask: Tensor, *_: object) -> Tensor:
    return torch.ones_like(mask).tril()


def last_of_prompt_hidden(right: Tensor, real: Tensor, cached: bool) -> Tensor:
    """In rows that are padded, steps see all of the prompt of 8 but its last token."""
    hidden = ~real.all(1)[:, None, None] & (torch.arange(right.shape[-1]) == 7)
    return right & ~hidden if cached else right


def without_second(past: Any, _: object) -> Any:
    """The oldest token is overwritten by the next, in each step."""
    return past if past[0].shape[2] <= 2 else [torch.cat((old[:, :, 1:2], old[:, :, 1:]), dim=2) for old in past]


def storage_of(size: int) -> Callable[[Any, Any], Any]:
    """Tokens beyond `size` overwrite each other in the last slot."""

    def overwritten(past: Any, new: Any) -> Any:
        over = max(0, past[0].shape[2] - size + 1)
        kept = past[0].shape[2] - over
        pairs = zip(past, new, strict=True)
        return [torch.cat((old[:, :, :kept], now[:, :, :1].repeat(1, 1, over, 1)), dim=2) for old, now in pairs]

    return overwritten


def bug(**changes: Callable[..., Any]) -> Callable[..., TinyGPT]:
    return partial(TinyGPT, **changes)


RESTARTS, FORGETS, LAST_SLOT = bug(positions=restarted), bug(mask=only_new), bug(past=storage_of(CONTEXT))
BUGS: list[tuple[str, str, Callable[..., TinyGPT]]] = [
    ("steps", "position-restarts", RESTARTS),
    ("steps", "position-off-by-one", bug(positions=lambda right, _, cached: right + cached)),
    ("steps", "position-off-by-one", bug(positions=lambda right, _, cached: right - int(cached))),
    ("steps", "position-off-by-one", StepsFromOne),
    ("steps", "past-forgotten", FORGETS),
    ("steps", "past-cut", bug(past=without_second)),
    ("steps", "mask-corner", bug(mask=other_corner)),
    ("steps", "window-lost", bug(mask=lambda right, _, cached: right if cached else window_of_3(right))),
    ("steps", "keys-changed", bug(past=lambda past, _: (past[0] * 1.1, past[1]))),
    ("steps", "differs", bug(past=lambda past, _: (past[0], past[1] * 1.1))),
    ("steps", "empty-cache", OtherPath),
    ("steps", "not-repeatable", bug(positions=lambda right, *_: torch.randint_like(right, CONTEXT))),
    ("chunks", "position-restarts", RESTARTS),
    ("chunks", "chunk-positions", bug(positions=lambda p, _, cached: p[:, :1].expand_as(p) if cached else p)),
    ("chunks", "chunk-mask", bug(mask=lambda right, _, cached: right | cached)),
    ("chunks", "mask-corner", bug(mask=lambda right, *_: right if right.shape[1] == 1 else other_corner(right))),
    ("chunks", "past-forgotten", FORGETS),
    ("limit", "at-the-limit", bug(past=storage_of(CONTEXT - 2))),
    ("limit", "position-restarts", RESTARTS),
    ("limit", "position-clamped", bug(positions=lambda right, *_: right.clamp(max=CONTEXT - 1))),
    ("limit", "newest-lost", LAST_SLOT),
    ("limit", "not-finite-beyond", NaNBeyond),
    ("separate", "shared-cache", OnTheModule),
    ("separate", "kept-between-texts", NeverEmptied),
    ("read-only", "cache-changes-forward", OffsetStays),
    ("read-only", "forward-changes-cache", ForwardResets),
    ("read-only", "logits-rewritten", OneBuffer),
    ("unequal", "unequal-positions", bug(positions=lambda p, real, cached: positions_in(real | cached, p.shape[1]))),
    ("unequal", "padding-attended", bug(mask=lambda right, _, cached: causal(right) if cached else right)),
    ("unequal", "prompt", bug(mask=lambda right, *_: causal(right))),
    ("unequal", "past-cut", bug(mask=last_of_prompt_hidden)),
    ("unequal", "differs", bug(mask=lambda right, real, cached: right & real.all(0) if cached else right)),
    ("unequal", "differs", bug(positions=lambda p, _, cached: p.amin(0).expand_as(p) if cached else p)),
]
HARMLESS = {
    (OffsetStays, True): "rotary scores depend on distances alone, so that a shift of all positions changes nothing",
    (StepsFromOne, True): "as above",
    (NaNBeyond, False): "a table of positions refuses what is past it",
    (LAST_SLOT, False): "as above",
}
"""bugs without effect in the model with rotary positions (True) or with a table of positions (False), and why"""


def subject(model: nn.Module) -> Subject:
    return Subject(
        model,
        call=lambda model, tokens: model(tokens),
        vocab_size=V,
        context=CONTEXT,
        step=lambda model, tokens, cache: model.step(tokens, cache),
        sides=("left",),
        prefill=lambda model, tokens, real: model.run(tokens, real, None),
    )


def outcome(name: str, model: nn.Module, seed: int = 1) -> Outcome:
    return run_check(subject(model), CHECKS[f"cache.{name}"], seed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [TinyGPT, partial(TinyGPT, rotary=True), partial(TinyGPT, mask=window_of_3)])
def test_a_correct_model_passes(name: str, make: Callable[[], TinyGPT]):
    for seed in (1, 2):
        found = outcome(name, make(), seed)
        assert (found.status, found.cause) == ("passed", "")
        assert found.measured < SAME


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(("name", "cause", "make"), BUGS)
def test_each_bug_with_an_effect_is_caught_and_named(name: str, cause: str, make: Callable[..., TinyGPT], rotary: bool):
    found = outcome(name, make(rotary=rotary))
    if (make, rotary) in HARMLESS:
        assert found.status == "passed", found
    else:
        assert (found.status, found.cause) == ("failed", cause), found
        assert found.measured > found.tolerance


def test_past_the_context_an_error_passes_and_so_does_continuing():
    refused, goes_on = outcome("limit", TinyGPT()), outcome("limit", TinyGPT(rotary=True))
    assert "past the context the model refuses: IndexError: index out of range" in refused.notes[0]
    assert goes_on.notes == ("past the context the model continues, and its logits are finite",)


def test_a_step_that_returns_no_cache_is_a_crash():
    no_cache = dataclasses.replace(subject(TinyGPT()), step=lambda model, tokens, _cache: model(tokens))
    found = run_check(no_cache, CHECKS["cache.steps"], 1)
    assert (found.status, found.case) == ("crashed", "a pair (logits, cache) was expected, found Tensor")


def test_logits_that_are_nan_are_reported_as_such():
    nan = dataclasses.replace(
        subject(TinyGPT()),
        call=lambda model, tokens: model(tokens) * torch.nan,
        step=lambda model, tokens, cache: (model(tokens) * torch.nan, cache),
    )
    assert run_check(nan, CHECKS["cache.steps"], 1).cause == "logits-not-finite"


def test_a_failure_names_its_position_and_the_evidence():
    found = outcome("chunks", RESTARTS())
    assert found.case.startswith(
        "tokens in chunks of 5 + 4 + 3: from position 5 on the logits differ from one forward pass"
    )
    assert found.notes == (
        "after 6 tokens the next queries get positions [0, 1], by the scores of the first attention",
    )
