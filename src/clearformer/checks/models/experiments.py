"""One bug or two: take away what the first failure is about, and measure the others again.

What then passes was its consequence, whatever was declared; what still fails is another bug, and its cause is the one
that is now found.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from clearformer.checks.check import ALL_KINDS, Result
from clearformer.checks.explain.roots import follow, knows, roots
from clearformer.checks.models.run import run_check, seed_of
from clearformer.checks.probe.training import NoDropout
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Kind, Subject

Call = Callable[..., Any]
CALLS = ("call", "padded", "step", "prefill", "loss")
WITHOUT_GRADIENTS = ("masks.[!g]*", "batches.*", "order.*", "cache.*", "encoder-decoder.*", "numbers.*")
"""checks that call the model and take no gradient"""
MOST = 8
"""checks that are measured again"""


@dataclasses.dataclass(frozen=True)
class Remedy:
    """A way to call a model in which a fault has no effect."""

    roots: tuple[str, ...]
    words: str
    wrap: Callable[[Call], Call]
    calls: tuple[str, ...] = CALLS
    """fields of Subject"""
    kinds: tuple[Kind, ...] = ALL_KINDS

    def applied_to(self, subject: Subject) -> Subject:
        given = {name: getattr(subject, name) for name in self.calls}
        changes: dict[str, Any] = {name: self.wrap(call) for name, call in given.items() if call is not None}
        return dataclasses.replace(subject, **changes)


def tell_apart(subject: Subject, results: Sequence[Result], seed: int) -> list[Result]:
    """The results of `link`, corrected by an experiment where there is one for the first root."""
    problems = [*roots(results), *(result for result in results if result.follows)]
    first, others = problems[:1], problems[1:]
    fitting = (one for one in REMEDIES if first and _matches(first[0], one.roots) and subject.kind in one.kinds)
    remedy = next(fitting, None)
    if remedy is None or not others:
        return list(results)
    remedied = remedy.applied_to(subject)

    def measure_again(result: Result) -> Result:
        return dataclasses.replace(result, outcome=run_check(remedied, result.check, seed_of(result.id, seed)))

    if measure_again(first[0]).is_problem:
        return list(results)
    replaced = {}
    for other in [result for result in others if _matches(result, WITHOUT_GRADIENTS)][:MOST]:
        again = measure_again(other)
        if not again.is_problem:
            replaced[other.id] = follow(other, first[0].id)
        elif knows(again):
            note = f"{remedy.words} it fails as well, so it is not a consequence of {first[0].id}"
            outcome = dataclasses.replace(again.outcome, notes=(*again.outcome.notes, note))
            replaced[other.id] = dataclasses.replace(other, outcome=outcome, follows="")
    return [replaced.get(result.id, result) for result in results]


def _matches(result: Result, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(f"{result.id}:{result.outcome.cause}", pattern) for pattern in patterns)


def _each_row_alone(call: Call) -> Call:
    def rows_apart(model: Any, *tensors: Tensor) -> Tensor:
        rows = [call(model, *(tensor[row : row + 1] for tensor in tensors)) for row in range(len(tensors[0]))]
        return torch.cat([extract_logits(row) for row in rows])

    return rows_apart


def _on_a_fresh_copy(call: Call) -> Call:
    return lambda model, *arguments: call(copy.deepcopy(model), *arguments)


def _inside(mode: type[TorchFunctionMode]) -> Callable[[Call], Call]:
    def wrap(call: Call) -> Call:
        def changed(model: Any, *arguments: Any) -> Any:
            with mode():
                return call(model, *arguments)

        return changed

    return wrap


class _CausalMask(TorchFunctionMode):
    """Each softmax over keys, plain or fused, leaves out those that come after the query; the last query sees all."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        named = kwargs or {}
        if func is F.scaled_dot_product_attention and len(args) > 1 and "attn_mask" not in named and len(args) < 4:
            allowed = _allowed(args[0].shape[-2], args[1].shape[-2])
            return func(*args, **{**named, "attn_mask": allowed, "is_causal": False})
        if func in SOFTMAXES and args and args[0].dim() > 2:
            allowed = _allowed(*args[0].shape[-2:])
            return func(args[0].masked_fill(~allowed, torch.finfo(args[0].dtype).min), *args[1:], **named)
        return func(*args, **named)


def _allowed(T: int, S: int) -> Tensor:  # noqa: N803
    return torch.ones(T, S, dtype=torch.bool).tril(S - T)


SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax)
REMEDIES = (
    Remedy(
        (
            "batches.independent:*",
            "batches.permuted:*",
            "order.positions:positions-by-row",
            "numbers.softmax:over-batch",
        ),
        "with each row of a batch computed alone",
        _each_row_alone,
        ("call", "padded"),
    ),
    Remedy(
        ("learning.dropout:dropout-in-evaluation", "learning.dropout:not-reached-by-eval"),
        "with dropout taken out",
        _inside(NoDropout),
    ),
    Remedy(
        ("masks.future:no-mask", "masks.future:diagonal", "masks.future:some-*", "masks.future:finite-mask"),
        "with a causal mask in every attention",
        _inside(_CausalMask),
        CALLS[:-1],
        ("causal",),  # in cross-attention it would hide the source
    ),
    Remedy(
        ("state.unchanged:*", "cache.read-only:*", "cache.separate:*"),
        "with a fresh copy of the model for each call",
        _on_a_fresh_copy,
    ),
)
