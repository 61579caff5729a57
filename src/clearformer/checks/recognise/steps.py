"""A step with a cache: `forward` or a method that takes tokens and what it returned before, under any name."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import Experiment, attempt, same
from clearformer.checks.weights import preserve_state

CACHES = ("cache", "caches", "kv", "kvs", "past", "pasts", "past_kv", "kv_cache")
STATES = ("state", "states", "mem", "mems", "memories", "presents")
"""what may also be a cache; but a step that takes one and is wrong may mean something else"""
POSITIONS = ("pos", "position", "start", "offset", "t", "past_len", "past_length", "cache_len", "cur_len", "index")
STEPS = ("step", "incremental", "cached", "infer", "inference", "next", "stream")
FACTORIES = ("init", "new", "make", "create", "empty", "build", "allocate", "alloc", "setup", "fresh", "get")
RESETS = ("reset", "clear")
ROW_COUNTS = ("batch", "batch_size", "bsz", "b", "rows", "n", "max_batch_size")

Unit = Literal["chunk", "token", "flat"]


@dataclass(frozen=True)
class FoundStep:
    """A step in the form of `Subject.step`. Its cache is the model's, and the number of tokens in it."""

    description: str
    run: Callable[[Any, Tensor, Any, int], Any]
    """(model, tokens, the model's cache, position) -> what the model returns"""
    initial: Callable[[Any, Tensor], Any]
    """(model, tokens) -> the model's cache before any token"""
    vocabulary: int
    unit: Unit = "chunk"
    """what it takes at a time: any number of tokens [B, T], or one, [B, 1] or [B]"""
    keeps_cache: bool = False
    """the model keeps the cache itself"""

    def __call__(self, model: Any, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        kept, position = (self.initial(model, tokens), 0) if cache is None else cache
        outputs = []
        for part in (tokens,) if self.unit == "chunk" else tokens.split(1, dim=1):
            out = self.run(model, part[:, 0] if self.unit == "flat" else part, kept, position)
            logits, kept = self.read(out, kept)
            outputs.append(logits)
            position += part.shape[1]
        return torch.cat(outputs, dim=1), (kept, position)

    def read(self, out: Any, cache: Any) -> tuple[Tensor, Any]:
        """The logits [B, T, V] and the cache in an output; without one there it is the old one, changed in place."""
        items = list(out) if isinstance(out, tuple | list) else [out]
        items += [getattr(out, name) for name in ("logits", "past_key_values", "cache") if hasattr(out, name)]
        logits = next((item for item in items if self.is_logits(item)), None)
        if logits is None:
            raise ModelCrashed(f"logits were expected of {self.description}, found {type(out).__name__}")
        others = [item for item in items if item is not None and item is not logits and item is not out]
        kept = [item for item in others if not (isinstance(item, Tensor) and item.dim() == 0)]
        return logits if logits.dim() == 3 else logits[:, None], kept[0] if kept else cache

    def is_logits(self, item: Any) -> bool:
        return isinstance(item, Tensor) and item.dim() in (2, 3) and item.shape[-1] == self.vocabulary


def describe(step: FoundStep) -> str:
    units: dict[Unit, str] = {
        "chunk": "any number of tokens",
        "token": "one token",
        "flat": "one token of each row, [B]",
    }
    where = "the model keeps the cache" if step.keeps_cache else "the caller keeps the cache"
    return f"a step takes {units[step.unit]}, and {where}"


def find(experiment: Experiment, only: str | None = None) -> list[FoundStep]:
    """Of `forward` and of each method the first form that gives the logits of the call; those that do stand first.

    Without one it is the first that runs, if its names say that it is a step and takes a cache.
    """
    names = ["forward", *sorted(signature.methods(experiment.model), key=lambda name: not _is_step(name))]
    right, wrong = [], []
    for name in names if only is None else [only]:
        fallback = None
        for step, certain in _candidates(experiment, name, certain=only is not None):
            with preserve_state(experiment.model):
                is_right, runs = _try(experiment, step)
            if is_right:
                right.append(step)
                break
            fallback = fallback or (step if runs and certain else None)
        else:
            wrong += [fallback] if fallback else []
    return right + wrong


def _is_step(name: str) -> bool:
    return name == "forward" or signature.has_word(name, STEPS)


def _try(experiment: Experiment, step: FoundStep) -> tuple[bool, bool]:
    """Whether single tokens after a prompt give the logits of the call, and whether they give any."""
    parts = [experiment.tokens[:, :3], *experiment.tokens[:, 3:].split(1, dim=1)]

    def run() -> Tensor:
        cache, outputs = None, []
        for part in parts:
            logits, cache = step(experiment.model, part.clone(), cache)
            outputs.append(logits)
        return torch.cat(outputs, dim=1)

    logits = attempt(run)
    runs = isinstance(logits, Tensor) and logits.shape == experiment.own_logits.shape
    return runs and same(logits, experiment.own_logits), runs


def _candidates(experiment: Experiment, name: str, certain: bool) -> Iterator[tuple[FoundStep, bool]]:
    """Forms of a step by this method, and whether they surely take a cache."""
    parameters = signature.parameters(signature.method(experiment.model, name))
    if not parameters:
        return
    first, *rest = parameters
    caches = [one for one in rest if _may_be_cache(one, parameters)]
    positions = [one for one in rest if signature.has_word(one, POSITIONS) and one not in caches]
    needs_others = bool(set(signature.required(parameters)) - {first, *caches, *positions})
    may_keep_cache = certain or (positions if name == "forward" else _is_step(name))
    if needs_others or len(caches) > 1 or not (caches or may_keep_cache):
        return
    certain = certain or (_is_step(name) and bool(caches) and signature.has_word(caches[0], CACHES))
    flags = {one: True for one in rest if _is_flag(one, parameters)}
    units: tuple[Unit, ...] = ("chunk",) if name == "forward" else ("chunk", "token", "flat")
    called = "model" if name == "forward" else f"model.{name}"
    for unit, initial, position in itertools.product(
        units, _initial_caches(experiment, bool(caches)), [*positions[:1], ""]
    ):
        arguments = ", ".join(filter(None, [first, *caches, position]))
        step = FoundStep(
            f"{called}({arguments})",
            _runner(name, caches, position, flags),
            initial,
            experiment.own_logits.shape[-1],
            unit,
            keeps_cache=not caches,
        )
        yield step, certain


def _may_be_cache(name: str, parameters: Any) -> bool:
    return signature.has_word(name, (*CACHES, *STATES)) and not isinstance(parameters[name].default, bool)


def _is_flag(name: str, parameters: Any) -> bool:
    """Such as `use_cache` and `return_kv`."""
    return parameters[name].default is False and signature.has_word(name, (*CACHES, "present", "presents"))


def _runner(name: str, caches: list[str], position_name: str, flags: dict[str, Any]) -> Callable[..., Any]:
    def run(model: Any, tokens: Tensor, cache: Any, position: int) -> Any:
        named = dict.fromkeys(caches, cache) | ({position_name: position} if position_name else {}) | flags
        return (model if name == "forward" else signature.method(model, name))(tokens, **named)

    return run


def _initial_caches(experiment: Experiment, takes_cache: bool) -> Iterator[Callable[[Any, Tensor], Any]]:
    """Ways to an empty cache: by a method of the model, or None, or an empty container."""
    model = experiment.model
    if not takes_cache:
        yield _reset
        return
    for name in signature.methods(model, CACHES):
        if signature.has_word(name, FACTORIES):
            yield _factory(experiment, name)
    layers = max((len(module) for module in model.modules() if isinstance(module, nn.ModuleList)), default=1)
    yield lambda _model, _tokens: None
    yield lambda _model, _tokens: {}
    yield lambda _model, _tokens: [None] * layers
    yield lambda _model, _tokens: []


def _reset(model: Any, _tokens: Tensor) -> None:
    """Empty the cache that the model keeps itself."""
    for name in signature.methods(model, RESETS):
        if not signature.required(signature.parameters(signature.method(model, name))):
            signature.method(model, name)()


def _factory(experiment: Experiment, name: str) -> Callable[[Any, Tensor], Any]:
    """A method that makes a cache, given the number of rows, or a length."""
    length = experiment.subject.context or 4 * experiment.length

    def make(model: Any, tokens: Tensor) -> Any:
        method = signature.method(model, name)
        required = signature.required(signature.parameters(method))
        return method(**{one: len(tokens) if signature.has_word(one, ROW_COUNTS) else length for one in required})

    return make
