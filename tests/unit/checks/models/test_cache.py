"""The checks of the cache pass a correct model, and name each planted bugs cached path."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Subject
from clearformer.config import GPTConfig
from clearformer.models.gpt import GPT

CONTEXT = 16
SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""


class Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


def rotated(x: Tensor, positions_of: Tensor) -> Tensor:
    """Rotary positions of halves: x [B, H, T, E] at positions [B, T]."""
    half = x.shape[-1] // 2
    angles = positions_of[:, None, :, None] / 100.0 ** (torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), dim=-1)


class TinyGPT(nn.Module):
    """A cache is ([(keys, values) of each layer], which of its slots are real). Bugs override methods."""

    def __init__(self, rotary: bool = False, window: int = CONTEXT + 9, width: int = 16) -> None:
        super().__init__()
        self.rotary, self.window = rotary, window
        self.embedding = nn.Embedding(23, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.layers = nn.ModuleList(Layer(width) for _ in range(2))
        self.output = nn.Linear(width, 23)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.run(tokens, torch.ones_like(tokens).bool(), None)[0]

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        return self.run(tokens, torch.ones_like(tokens).bool(), cache)

    def run(self, tokens: Tensor, real: Tensor, cache: Any) -> tuple[Tensor, Any]:
        old, before = cache or ([None] * len(self.layers), real[:, :0])
        real, (B, T) = self.cached_real(before, real), tokens.shape  # noqa: N806
        positions_of = self.positions_of(real, T, cache is not None)
        x = self.embedding(tokens)
        if not self.rotary:
            x = x + self.positions(positions_of)
        new = []
        for layer, past in zip(self.layers, old, strict=True):
            q, k, v = layer.qkv(layer.norms[0](x)).view(B, T, 3, 2, -1).permute(2, 0, 3, 1, 4)
            if self.rotary:
                q, k = rotated(q, positions_of), rotated(k, positions_of)
            k, v = self.cached_keys_values(past, k, v)
            new.append((k, v))
            scores = q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5
            scores = scores.masked_fill(~self.mask(real, T, cache is not None)[:, None], -1e9)
            x = x + layer.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, -1))
            x = x + layer.feed_forward(layer.norms[1](x))
        return self.output(x), (new, real)

    def positions_of(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        return (real.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]

    def cached_real(self, before: Tensor, real: Tensor) -> Tensor:
        return torch.cat((before, real), dim=1)

    def cached_keys_values(self, past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return (k, v) if past is None else (torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2))

    def mask(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        S = real.shape[1]  # noqa: N806
        causal = torch.ones(T, S).tril(S - T).triu(S - T - self.window + 1).bool()
        return causal & real[:, None]


class Restarts(TinyGPT):
    def positions_of(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        return torch.arange(T).expand(len(real), T)


class OneTooHigh(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached) + cached


class OneTooLow(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached) - int(cached)


class FromOne(TinyGPT):
    """Positions of steps begin at 1, as if counted after the new token was cached."""

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        self.first = 1
        out = super().step(tokens, cache)
        self.first = 0
        return out

    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached) + getattr(self, "first", 0)


class SamePosition(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        right = super().positions_of(real, T, cached)
        return right[:, :1].expand_as(right) if cached else right


class Forgets(TinyGPT):
    """Keys and values are cached and not read: only new tokens are attended to."""

    def cached_real(self, _before: Tensor, real: Tensor) -> Tensor:
        return real

    def cached_keys_values(self, _past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k, v


class DropsOldest(TinyGPT):
    def cached_keys_values(self, past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if past is not None and past[0].shape[2] > 2:
            past = tuple(torch.cat((old[:, :, 1:2], old[:, :, 1:]), dim=2) for old in past)
        return super().cached_keys_values(past, k, v)


class NoMaskWithCache(TinyGPT):
    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().mask(real, T, cached) | torch.tensor(cached)


class WrongCorner(TinyGPT):
    def mask(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        return torch.ones(T, real.shape[1]).tril().bool().expand(len(real), -1, -1)


class WrongCornerOfChunks(WrongCorner):
    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return TinyGPT.mask(self, real, T, cached) if T == 1 else super().mask(real, T, cached)


class WindowLost(TinyGPT):
    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        self.window = CONTEXT if cached else 3
        return super().mask(real, T, cached)


class KeysScaled(TinyGPT):
    def cached_keys_values(self, past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return super().cached_keys_values(past and (past[0] * 1.1, past[1]), k, v)


class ValuesScaled(TinyGPT):
    def cached_keys_values(self, past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return super().cached_keys_values(past and (past[0], past[1] * 1.1), k, v)


class Random(TinyGPT):
    def positions_of(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        return torch.randint(CONTEXT, (len(real), T))


class OtherPath(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        return logits * 1.1, cache


class OnTheModule(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, self.stored = super().step(tokens, self.stored if cache else None)
        return logits, "on the module"


class NeverEmptied(TinyGPT):
    stored: Any = None

    def step(self, tokens: Tensor, _cache: Any) -> tuple[Tensor, Any]:
        logits, self.stored = super().step(tokens, self.stored)
        return logits, "on the module"

    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached) % CONTEXT


class OffsetStays(TinyGPT):
    """Stepping leaves a position on the module, and a forward pass without a cache begins there."""

    offset = 0

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        self.offset = 0
        out = super().step(tokens, cache)
        self.offset = 1
        return out

    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached) + self.offset


class ForwardResets(TinyGPT):
    """The position of the next token is kept on the module, and every forward pass overwrites it."""

    next_position = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.next_position = 0
        return super().forward(tokens)

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        if cache is None:
            self.next_position = 0
        out = super().step(tokens, cache)
        self.next_position += tokens.shape[1]
        return out

    def positions_of(self, real: Tensor, T: int, _cached: bool) -> Tensor:  # noqa: N803
        return self.next_position + torch.arange(T).expand(len(real), T)


class OneBuffer(TinyGPT):
    buffer: Tensor | None = None

    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        if self.buffer is None or self.buffer.shape != logits.shape:
            self.buffer = torch.empty_like(logits)
        return self.buffer.copy_(logits), cache


class ShortStorage(TinyGPT):
    """Tokens beyond 14 overwrite each other in the last slot."""

    size = CONTEXT - 2

    def cached_keys_values(self, past: Any, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if past is not None and past[0].shape[2] >= self.size:
            over = past[0].shape[2] - self.size + 1
            past = tuple(
                torch.cat((old[:, :, : self.size - 1], new[:, :, :1].repeat(1, 1, over, 1)), dim=2)
                for old, new in zip(past, (k, v), strict=True)
            )
        return super().cached_keys_values(past, k, v)


class LastSlot(ShortStorage):
    size = CONTEXT


class Clamped(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real, T, cached).clamp(max=CONTEXT - 1)


class NaNBeyond(TinyGPT):
    def step(self, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        logits, cache = super().step(tokens, cache)
        return (logits if cache[1].shape[1] <= CONTEXT else logits * torch.nan), cache


class PositionsBySlot(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().positions_of(real | torch.tensor(cached), T, cached)


class PaddingSeen(TinyGPT):
    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().mask(real | torch.tensor(cached), T, cached)


class PaddingSeenInPrompts(TinyGPT):
    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        return super().mask(torch.ones_like(real), T, cached)


class MaskOfTheShortest(TinyGPT):
    """Every row sees as many cached tokens as the shortest has."""

    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        right = super().mask(real, T, cached)
        common = real.all(0) if cached else torch.ones_like(real[0])
        return right & common


class LastOfPromptHidden(TinyGPT):
    """In rows that are padded, steps see all of the prompt but its last token."""

    def mask(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        right = super().mask(real, T, cached)
        if cached:
            right[~real.all(1), :, self.prompt - 1] = False
        else:
            self.prompt = T
        return right


class PositionsOfTheShortest(TinyGPT):
    def positions_of(self, real: Tensor, T: int, cached: bool) -> Tensor:  # noqa: N803
        right = super().positions_of(real, T, cached)
        return right.amin(0).expand_as(right) if cached else right


def subject(model: nn.Module) -> Subject:
    return Subject(
        model,
        call=lambda model, tokens: model(tokens),
        vocab_size=23,
        context=CONTEXT,
        step=lambda model, tokens, cache: model.step(tokens, cache),
        sides=("left",),
        prefill=lambda model, tokens, real: model.run(tokens, real, None),
    )


def outcome(name: str, model: nn.Module, seed: int = 1) -> Outcome:
    return run_check(subject(model), CHECKS[f"cache.{name}"], seed)


NAMES = [name.removeprefix("cache.") for name in CHECKS if name.startswith("cache.")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [TinyGPT, lambda: TinyGPT(rotary=True), lambda: TinyGPT(window=3)])
def test_a_correct_model_passes(name: str, make: Callable[[], TinyGPT]):
    for seed in (1, 2):
        found = outcome(name, make(), seed)
        assert (found.status, found.cause) == ("passed", "")
        assert found.measured < SAME


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("positions", ["learned", "rotary", "alibi"])
def test_this_projects_gpt_passes(name: str, positions: str):
    model = GPT(
        GPTConfig(vocab_size=23, context=CONTEXT, d_model=16, num_heads=2, num_layers=2, d_ff=32, positions=positions)
    )

    def step(model: GPT, tokens: Tensor, cache: KVCache | None) -> tuple[Tensor, KVCache]:
        if cache is None:
            cache = KVCache(
                num_layers=2,
                batch_size=len(tokens),
                num_heads=2,
                max_length=CONTEXT,
                head_width=8,
                like=torch.zeros(0),
            )
        return model(tokens, cache), cache

    def prefill(model: GPT, tokens: Tensor, real: Tensor) -> tuple[Tensor, KVCache]:
        logits, cache = step(model, tokens, None)
        cache.set_lengths(real.sum(-1).tolist())
        return logits, cache

    ours = Subject(
        model, lambda model, tokens: model(tokens), vocab_size=23, context=CONTEXT, step=step, prefill=prefill
    )
    found = run_check(ours, CHECKS[f"cache.{name}"], 1)
    assert found.status == "passed", found
    assert found.measured < SAME


PLANTED = [
    ("steps", Restarts, "position-restarts"),
    ("steps", OneTooHigh, "position-off-by-one"),
    ("steps", OneTooLow, "position-off-by-one"),
    ("steps", Forgets, "past-forgotten"),
    ("steps", DropsOldest, "past-cut"),
    ("steps", WrongCorner, "mask-corner"),
    ("steps", WindowLost, "window-lost"),
    ("steps", KeysScaled, "keys-changed"),
    ("steps", ValuesScaled, "differs"),
    ("steps", OtherPath, "empty-cache"),
    ("steps", FromOne, "position-off-by-one"),
    ("steps", Random, "not-repeatable"),
    ("chunks", Restarts, "position-restarts"),
    ("chunks", SamePosition, "chunk-positions"),
    ("chunks", NoMaskWithCache, "chunk-mask"),
    ("chunks", WrongCornerOfChunks, "mask-corner"),
    ("chunks", Forgets, "past-forgotten"),
    ("limit", ShortStorage, "at-the-limit"),
    ("limit", Restarts, "position-restarts"),
    ("limit", Clamped, "position-clamped"),
    ("limit", LastSlot, "newest-lost"),
    ("limit", NaNBeyond, "not-finite-beyond"),
    ("separate", OnTheModule, "shared-cache"),
    ("separate", NeverEmptied, "kept-between-texts"),
    ("read-only", OffsetStays, "cache-changes-forward"),
    ("read-only", ForwardResets, "forward-changes-cache"),
    ("read-only", OneBuffer, "logits-rewritten"),
    ("unequal", PositionsBySlot, "unequal-positions"),
    ("unequal", PaddingSeen, "padding-attended"),
    ("unequal", PaddingSeenInPrompts, "prompt"),
    ("unequal", LastOfPromptHidden, "past-cut"),
    ("unequal", MaskOfTheShortest, "differs"),
    ("unequal", PositionsOfTheShortest, "differs"),
]


NO_BUG = {
    (OffsetStays, True): "rotary scores depend on distances alone, so that a shift of all positions changes nothing",
    (FromOne, True): "as above",
    (NaNBeyond, False): "a table of positions refuses what is past it",
    (LastSlot, False): "as above",
}
"""changes without effect in the model with rotary positions (True), or with a table of positions (False), and why"""
WRONG = [(*case, rotary) for case in PLANTED for rotary in (False, True) if (case[1], rotary) not in NO_BUG]


@pytest.mark.parametrize(("name", "planted", "cause", "rotary"), WRONG)
def test_each_bug_is_caught_and_named(name: str, planted: type[TinyGPT], cause: str, rotary: bool):
    found = outcome(name, planted(rotary=rotary))
    assert (found.status, found.cause) == ("failed", cause), found
    assert found.measured > found.tolerance


@pytest.mark.parametrize(
    ("name", "planted", "rotary"),
    [(*case[:2], rotary) for case in PLANTED for rotary in (False, True) if (case[1], rotary) in NO_BUG],
)
def test_a_change_without_effect_is_no_failure(name: str, planted: type[TinyGPT], rotary: bool):
    assert outcome(name, planted(rotary=rotary)).status == "passed"


def test_past_the_context_an_error_passes_and_so_does_continuing():
    refused, goes_on = outcome("limit", TinyGPT()), outcome("limit", TinyGPT(rotary=True))
    assert "past the context the model refuses: IndexError: index out of range" in refused.notes[0]
    assert goes_on.notes == ("past the context the model continues, and its logits are finite",)


def test_a_step_that_returns_no_cache_is_a_crash():
    lies = dataclasses.replace(subject(TinyGPT()), step=lambda model, tokens, _cache: model(tokens))
    found = run_check(lies, CHECKS["cache.steps"], 1)
    assert (found.status, found.case) == ("crashed", "a pair (logits, cache) was expected, found Tensor")


def test_logits_that_are_nan_are_reported_as_such():
    nothing = dataclasses.replace(
        subject(TinyGPT()),
        call=lambda model, tokens: model(tokens) * torch.nan,
        step=lambda model, tokens, cache: (model(tokens) * torch.nan, cache),
    )
    assert run_check(nothing, CHECKS["cache.steps"], 1).cause == "not-finite"


def test_a_failure_names_its_position_and_the_evidence():
    found = outcome("chunks", Restarts())
    assert found.case.startswith(
        "tokens in chunks of 5 + 4 + 3: from position 5 on the logits differ from one forward pass"
    )
    assert found.notes == (
        "after 6 tokens the next queries get positions [0, 1], by the scores of the first attention",
    )
