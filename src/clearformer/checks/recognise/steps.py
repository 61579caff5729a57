"""A step with a cache: `forward` or a method that takes tokens and what it returned before, under any name."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import Experiment, attempt, same
from clearformer.checks.subject import MAX_LENGTH
from clearformer.checks.weights import preserve_state

CACHES = ("cache", "caches", "kv", "kvs", "past", "pasts", "kvcache", "kvcaches")
STATES = ("state", "states", "mem", "mems", "memories", "presents")
"""what may also be a cache; but a step that takes one and is wrong may mean something else"""
POSITIONS = (
    *("pos", "position", "positions", "start", "offset", "t", "index"),
    *("past_len", "past_length", "cache_len", "cur_len"),
)
STEPS = ("step", "incremental", "cached", "infer", "inference", "next", "stream", "advance", "decode", "one")
FACTORIES = (
    "init",
    "initial",
    "start",
    "new",
    "make",
    "create",
    "empty",
    "build",
    "allocate",
    "alloc",
    "setup",
    "fresh",
    "get",
)
RESETS = ("reset", "clear")
SIZES = ("size", "cache_size", "length", "len", "max_len", "max_length", "max_seq_len", "seq_len", "slots", "capacity")
ROW_COUNTS = ("batch", "batch_size", "bsz", "b", "rows", "n", "max_batch_size")

Unit = Literal["chunk", "token", "flat"]
UNITS: tuple[Unit, ...] = ("chunk", "token", "flat")
Given = Mapping[str, Any]
NOTHING: Given = {}


@dataclass(frozen=True)
class StepForm:
    """How a method is called: the names of its arguments; "" for one that it does not take."""

    method: str
    tokens: str
    cache: str
    position: str
    flags: tuple[str, ...]
    """such as `use_cache`, which are given True"""
    others: tuple[str, ...] = ()
    """which of what is given beside the tokens it takes"""

    def run(self, model: Any, tokens: Tensor, cache: Any, position: int, given: Given) -> Any:
        named = {self.tokens: tokens, self.cache: cache, self.position: position} | dict.fromkeys(self.flags, True)
        named |= {name: given[name] for name in self.others}
        named.pop("", None)
        return (model if self.method == "forward" else signature.method(model, self.method))(**named)

    @property
    def description(self) -> str:
        flags = [f"{flag}=True" for flag in self.flags]
        called = "model" if self.method == "forward" else f"model.{self.method}"
        return f"{called}({', '.join(filter(None, (*self.others, self.tokens, self.cache, self.position, *flags)))})"


@dataclass(frozen=True)
class FoundStep:
    """A step in the form of `Subject.step`. Its cache is the model's, and the number of tokens in it."""

    form: StepForm
    initial: Callable[[Any, Tensor, Given], Any]
    """(model, tokens, what is given beside them) -> the model's cache before any token"""
    vocabulary: int
    unit: Unit = "chunk"
    """what it takes at a time: any number of tokens [B, T], or one, [B, 1] or [B]"""

    note: str = ""

    @property
    def description(self) -> str:
        return self.form.description + self.note

    @property
    def keeps_cache(self) -> bool:
        """The model keeps the cache itself."""
        return not self.form.cache

    def __call__(self, model: Any, tokens: Tensor, cache: Any, given: Given = NOTHING) -> tuple[Tensor, Any]:
        """`given` are arguments that stay the same from step to step."""
        kept, position = (self.initial(model, tokens, given), 0) if cache is None else cache
        outputs = []
        for part in (tokens,) if self.unit == "chunk" else tokens.split(1, dim=1):
            out = self.form.run(model, part[:, 0] if self.unit == "flat" else part, kept, position, given)
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


@dataclass(frozen=True)
class Trial:
    """What single tokens after a prompt give."""

    runs: bool
    """logits of the right shape"""
    right: bool = False
    """those of the call"""
    begins: bool = False
    """those of the call for the first token"""
    continues: bool = False
    """later ones depend on the cache"""


Candidates = Callable[[Experiment, str, bool], Iterator[tuple[Any, bool]]]


def find(experiment: Experiment, only: str | None, candidates: Candidates) -> list[Any]:
    """Of `forward` and of each method the first form that gives the logits of the call; those that do stand first.

    Without one it is the first that runs, if its names say that it is a step with a cache, or its first logits do and
    the influence of what it takes back.
    """
    names = ["forward", *sorted(signature.methods(experiment.model), key=lambda name: not is_step(name))]
    names += _decoders(experiment.model) if experiment.kind == "encoder-decoder" else []
    right, wrong = [], []
    for name in names if only is None else [only]:
        fallback, reads_chunks = None, False
        for step, certain in candidates(experiment, name, only is not None):
            if reads_chunks and step.unit != "chunk":
                continue
            with preserve_state(experiment.model):
                trial = _try(experiment, step)
            if trial.right:
                right += [step, *_from_nothing(experiment, step)]
                break
            begins = trial.begins or (name != "forward" and is_step(name))
            is_meant = trial.runs and (certain or (begins and trial.continues))
            fallback = fallback or (step if is_meant and not _is_never_filled(experiment, step) else None)
            reads_chunks = reads_chunks or (trial.runs and name == "forward")
        else:
            wrong += [fallback] if fallback else []
    return right + wrong


def _from_nothing(experiment: Experiment, step: Any) -> list[FoundStep]:
    """The same step without a cache at first, where it takes None and another way to an empty cache was found."""
    if not isinstance(step, FoundStep) or step.keeps_cache or step.initial is nothing:
        return []
    parameters = signature.parameters(signature.method(experiment.model, step.form.method))
    if parameters[step.form.cache].default is not None:
        return []
    other = dataclasses.replace(step, initial=nothing, note=f", first without {step.form.cache}")
    with preserve_state(experiment.model):
        return [other] if _try(experiment, other).right else []


def _is_never_filled(experiment: Experiment, step: Any) -> bool:
    """Whether the model returns logits alone and leaves an empty cache empty: callers make one, in an unknown way."""
    if not isinstance(step, FoundStep) or step.keeps_cache:
        return False
    tokens = experiment.tokens[:, :1]
    with preserve_state(experiment.model):
        kept = step.initial(experiment.model, tokens, NOTHING)
        out = attempt(step.form.run, experiment.model, tokens, kept, 0, NOTHING)
    values = kept.values() if isinstance(kept, dict) else kept
    return isinstance(out, Tensor) and (kept is None or (isinstance(kept, dict | list) and not any(values)))


def is_step(name: str) -> bool:
    return name == "forward" or signature.has_word(name, STEPS)


def _try(experiment: Experiment, step: Callable[..., tuple[Tensor, Any]]) -> Trial:
    parts = [experiment.tokens[:, :3], *experiment.tokens[:, 3:].split(1, dim=1)]
    sources = (experiment.source,) if experiment.kind == "encoder-decoder" else ()

    def run(cached: bool) -> list[Tensor]:
        cache, outputs = None, []
        for part in parts:
            copies = (tensor.clone() for tensor in (*sources, part))
            logits, cache = step(experiment.model, *copies, cache if cached else None)
            outputs.append(logits)
        return outputs

    outputs, expected = attempt(run, True), experiment.own_logits
    if outputs is None or [one.shape[:2] for one in outputs] != [part.shape for part in parts]:
        return Trial(runs=False)
    logits = torch.cat(outputs, dim=1)
    if logits.shape != expected.shape or same(logits, expected):
        return Trial(logits.shape == expected.shape, logits.shape == expected.shape)
    without = attempt(run, False)
    continues = without is not None and not same(torch.cat(without[1:], dim=1), logits[:, 3:])
    return Trial(True, begins=same(logits[:, :1], expected[:, :1]), continues=continues)


def candidates(experiment: Experiment, name: str, certain: bool) -> Iterator[tuple[FoundStep, bool]]:
    """Forms of a step by this method, and whether they surely take a cache."""
    parameters = signature.parameters(signature.method(experiment.model, name))
    if not parameters:
        return
    first, *rest = parameters
    caches = [one for one in rest if may_be_cache(one, parameters)]
    positions = [one for one in rest if signature.has_word(one, POSITIONS) and one not in caches]
    needs_others = bool(set(signature.required(parameters)) - {first, *caches, *positions})
    flags = tuple(one for one in rest if is_flag(one, parameters))
    may_keep_cache = certain or (positions or flags if name == "forward" else is_step(name))
    if needs_others or len(caches) > 1 or not (caches or may_keep_cache):
        return
    takes_cache = bool(caches) and signature.has_word(caches[0], CACHES)
    resets = bool(flags) and bool(signature.methods(experiment.model, RESETS))
    certain = certain or (is_step(name) and (takes_cache or resets))
    for unit, initial, position in itertools.product(
        UNITS, initial_caches(experiment, bool(caches)), [*positions[:1], ""]
    ):
        form = StepForm(name, first, caches[0] if caches else "", position, flags)
        yield FoundStep(form, initial, experiment.own_logits.shape[-1], unit), certain


def may_be_cache(name: str, parameters: Any) -> bool:
    return signature.has_word(name, (*CACHES, *STATES)) and not isinstance(parameters[name].default, bool)


def is_flag(name: str, parameters: Any) -> bool:
    """Such as `use_cache` and `return_kv`."""
    return parameters[name].default is False and signature.has_word(name, (*CACHES, "present", "presents"))


def initial_caches(experiment: Experiment, takes_cache: bool) -> Iterator[Callable[[Any, Tensor, Given], Any]]:
    """Ways to an empty cache: by a method of the model, or None, or an empty container."""
    model = experiment.model
    if not takes_cache:
        yield _reset
        return
    for name in factories(model):
        yield _factory(experiment, name)
    for family in _cache_classes(model):
        yield _factory(experiment, family)
    layers = num_layers(model)
    yield nothing
    yield lambda _model, _tokens, _given: {}
    yield lambda _model, _tokens, _given: [None] * layers
    yield lambda _model, _tokens, _given: [{} for _ in range(layers)]
    yield lambda _model, _tokens, _given: []


def nothing(_model: Any, _tokens: Tensor, _given: Given) -> None:
    """No cache."""


def factories(model: Any) -> list[str]:
    """Methods that make an empty cache, of the model or of its decoder."""
    named = (*CACHES, *STATES)
    names = signature.methods(model, named)
    for part in _decoders(model):
        names += [f"{part}.{name}" for name in signature.methods(signature.method(model, part), named)]
    return [name for name in names if signature.has_word(name.rpartition(".")[2], FACTORIES)]


def _decoders(model: Any) -> list[str]:
    """The names of parts that are the decoder of a pair."""
    return [name for name, _ in model.named_children() if name == "decoder"] if isinstance(model, nn.Module) else []


def _reset(model: Any, _tokens: Tensor, _given: Given) -> None:
    """Empty the cache that the model keeps itself."""
    for name in signature.methods(model, RESETS):
        if not signature.required(signature.parameters(signature.method(model, name))):
            signature.method(model, name)()


def _cache_classes(model: Any) -> list[type]:
    """Classes of caches that the file of the model knows."""
    known = getattr(type(model).forward, "__globals__", {})
    beside = [one for one in known.values() if isinstance(one, type)]
    is_cache = [one for one in beside if one.__name__.lower().endswith(CACHES) and not issubclass(one, nn.Module)]
    return [] if signature.is_of_a_library(model) else is_cache


def _factory(experiment: Experiment, maker: str | type) -> Callable[[Any, Tensor, Given], Any]:
    """A method or a class that makes a cache, given the number of rows, a length, or what the steps are given too."""
    length = experiment.subject.context or MAX_LENGTH

    def make(model: Any, tokens: Tensor, given: Given) -> Any:
        method = signature.method(model, maker) if isinstance(maker, str) else maker
        parameters = signature.parameters(method)
        required = signature.required(parameters)
        sizes = {one: _size(model, one, len(tokens), length) for one in required}
        lengths = [one for one in parameters if one not in required and signature.has_word(one, SIZES)]
        sizes |= {one: length for one in lengths if not signature.has_word(one, ROW_COUNTS)}
        return method(**sizes | {one: given[one] for one in required if one in given})

    return make


def _size(model: Any, name: str, rows: int, length: int) -> int:
    """What an argument of this name takes: rows, layers, a size that the model declares, or a length."""
    if "layer" in name:
        return num_layers(model)
    if signature.has_word(name, ROW_COUNTS):
        return rows
    declared = None if signature.has_word(name, SIZES) else signature.declared(model, [name])
    return length if declared is None else declared


def num_layers(model: Any) -> int:
    """The length of the model's longest list of parts."""
    return max((len(module) for module in model.modules() if isinstance(module, nn.ModuleList)), default=1)
