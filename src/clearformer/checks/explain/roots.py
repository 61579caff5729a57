"""One bug, one answer: which failure is the cause of the others.

A leak makes cached decoding differ from one forward pass, noise in evaluation makes everything differ from everything,
and a module that is not registered is neither trained nor saved. `EXPLAINS` lists such dependencies. A failure that
none of the others explains is a root; the roots are ranked, and the first is where to start.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from clearformer.checks.check import Result

LEARNING = ("learning.one-batch", "learning.reversing", "learning.induction")
PADDING = ("batches.*-padding", "batches.padding-unseen", "masks.empty-row", "encoder-decoder.source-padding")
LOSSES = ("loss.*:other", "loss.accumulation", "loss.*:crashed")
"""the other causes of a loss are named by a formula that gives the same number, and so are true whatever else fails"""
MASKS = ("masks.future", "masks.gradient", "masks.scaled", "masks.past", "masks.both-sides")
STRUCTURE = ("order.*", "encoder-decoder.*", "numbers.softmax", "numbers.scale")
IN_USE = ("cache.*", "inference.*", "generation.*")
BETWEEN_TOKENS = (*MASKS, *PADDING, *STRUCTURE, *LOSSES, *LEARNING, *IN_USE, "batches.*")
"""what is measured by comparing the logits of one input with those of another"""

EXPLAINS: dict[str, tuple[str, ...]] = {
    # nothing can be compared with what is not finite, constant, or another one at each call
    "numbers.finite": ("*",),
    "parameters.registered": (
        *LEARNING,
        "learning.dropout:n*",
        "state.*",
        "parameters.*",
        "loss.accumulation",
        "numbers.norm-order",
        "numbers.float64",
    ),
    "state.unchanged:weights-change": ("*",),
    "state.unchanged:statistics-change": ("*",),
    "learning.dropout:dropout-in-evaluation": ("*",),
    "learning.dropout:not-reached-by-eval": ("*",),
    "arguments.unchanged": ("masks.gradient:crashed", "parameters.*:crashed", "loss.*"),
    "numbers.float64:half-precision": (*BETWEEN_TOKENS, "numbers.*", "state.saved"),
    # the rows of a batch, with which most influences are measured
    "numbers.softmax:over-*": (*BETWEEN_TOKENS, "numbers.*"),
    "batches.independent:axes-swapped": (*BETWEEN_TOKENS, "learning.dropout", "numbers.*", "parameters.gradients"),
    "batches.independent:rows-mixed": (*BETWEEN_TOKENS, "learning.dropout", "numbers.*"),
    "batches.permuted:row-number": BETWEEN_TOKENS,
    "order.positions:positions-by-row": BETWEEN_TOKENS,
    "order.positions:context-too-long": ("*:crashed",),
    "batches.independent:batch-size": BETWEEN_TOKENS,
    "batches.independent:rows-mixed-in-training": ("masks.gradient:in-training", "inference.mode", *LEARNING),
    # what each token sees
    "encoder-decoder.encoder": (*BETWEEN_TOKENS, "parameters.gradients"),
    "masks.future:after-softmax": (*BETWEEN_TOKENS, "numbers.softmax"),
    "masks.future": (*MASKS, *PADDING, *LOSSES, *LEARNING, *IN_USE),
    "masks.gradient:in-training": ("inference.mode", *LEARNING),
    "masks.gradient": ("masks.scaled", *PADDING, *LOSSES, *LEARNING, *IN_USE),
    "inference.mode:batch-norm": ("masks.gradient:in-training", *LEARNING),
    "encoder-decoder.source": ("order.matters", "parameters.gradients", "encoder-decoder.source-padding", *LEARNING),
    "numbers.residual": ("masks.past", "order.*", "numbers.norm-order", "encoder-decoder.source", "learning.*"),
    "masks.past": ("order.*", "arguments.used", "parameters.gradients", "learning.*", "cache.unequal", *PADDING),
    "masks.both-sides": ("order.*", "arguments.used", "parameters.gradients", "learning.*", *PADDING),
    "order.matters": ("order.*", *PADDING, *IN_USE, "arguments.used", "parameters.gradients:unused", *LEARNING),
    "order.positions": ("order.*", *PADDING, *IN_USE, "arguments.used", *LEARNING),
    "order.rotary": ("cache.*", "batches.left-padding", *LEARNING),
    # numbers
    "numbers.large": ("masks.empty-row", "masks.scaled", *PADDING),
    "numbers.norm-order": ("parameters.initial-loss", "learning.*"),
    # padding
    "masks.empty-row": (*PADDING, "cache.unequal"),
    "batches.right-padding": (*PADDING, "cache.unequal", "arguments.used", "generation.filled", *LOSSES),
    "encoder-decoder.source-padding": (*PADDING, "arguments.used", *LOSSES),
    "batches.padding-unseen": (*PADDING, "cache.unequal", "arguments.used"),
    "batches.left-padding": (*PADDING, "cache.unequal", "arguments.used", "generation.padded", "loss.padding:mask-*"),
    # cached decoding
    "cache.separate:kept-between-texts": ("cache.*", "state.unchanged:carries-over"),
    "cache.read-only:forward-changes-cache": ("cache.*", "state.unchanged:carries-over"),
    "cache.separate:shared-cache": ("cache.*", "state.unchanged:carries-over"),
    "cache.read-only": ("cache.*", "state.unchanged:carries-over"),
    "inference.paths": ("cache.*", "generation.*", "inference.mode"),
    "cache.steps": ("cache.*", "generation.*"),
    "cache.chunks": ("cache.*", "generation.*"),
    "cache.methods": ("cache.*", "generation.*"),
    "generation.greedy": ("generation.*",),
    # weights
    "parameters.heads": ("parameters.*", "order.balance", *LEARNING),
    "parameters.start": LEARNING,
    "parameters.gradients": ("parameters.*", "state.*", "learning.*", "loss.accumulation"),
    "parameters.tied": ("parameters.initial-loss", *LEARNING),
    "parameters.initial-loss": LEARNING,
    "state.saved": ("state.complete",),
    # losses
    "loss.masked-positions": ("loss.*",),
    "loss.shift": ("loss.*",),
    "loss.padding": ("loss.*",),
    "loss.smoothing:does-not-sum-to-one": ("loss.*",),
    "learning.one-batch": LEARNING,
    "learning.reversing": LEARNING,
}
"""`check` or `check:cause` of a failure, and those that it explains, with * for any; the more fundamental ones first"""

UNKNOWING = (
    "*:crashed",
    "*:not-repeatable",
    "*:logits-not-finite",
    "*:other",
    "*:differs",
    "state.unchanged:carries-over",
    "learning.*:nothing",
    "learning.*:little",
    "learning.*:learns-little",
    "learning.dropout:other-in-evaluation",
)
"""failures that do not say what is wrong, and so never stand above one that does"""


def roots(results: Sequence[Result]) -> list[Result]:
    """The failures that no other one explains, of the results of `link`; the first is where to start."""
    return sorted((result for result in results if result.is_problem and not result.follows), key=_rank)


def link(results: Sequence[Result]) -> list[Result]:
    """The same results; a failure that another one explains has the id of their root in `follows`, and no own cause."""
    ranked = sorted((result for result in results if result.is_problem), key=_rank)
    root_of: dict[str, str] = {}
    for number, result in enumerate(ranked):
        cause = next((earlier for earlier in ranked[:number] if explains(earlier, result)), None)
        root_of[result.id] = result.id if cause is None else root_of[cause.id]
    return [follow(result, root_of.get(result.id, result.id)) for result in results]


def follow(result: Result, root: str) -> Result:
    """The result as a consequence of the failure with the id `root`; unchanged where that is its own."""
    if root == result.id:
        return result
    outcome = replace(result.outcome, cause="", diagnosis=f"It follows from {root}.", notes=())
    return replace(result, outcome=outcome, follows=root)


def knows(result: Result) -> bool:
    """Whether a failure says what is wrong."""
    return not _matches(result, UNKNOWING)


def explains(cause: Result, result: Result) -> bool:
    """Whether one failure explains another: by EXPLAINS, or as two crashes with one error."""
    if cause.outcome.status == "crashed":
        return result.outcome.status == "crashed" and _error(cause) == _error(result)
    return any(_matches(cause, [pattern]) and _matches(result, names) for pattern, names in EXPLAINS.items())


def foretells(cause: Result, name: str) -> bool:
    """Whether a failure explains one of the check `name`, whatever cause that would name."""
    targets = (target for pattern, names in EXPLAINS.items() if _matches(cause, [pattern]) for target in names)
    return cause.outcome.status == "failed" and any(fnmatchcase(name, target) for target in targets)


def _rank(result: Result) -> tuple[bool, int]:
    """Failures that say what is wrong come first, and of them the more fundamental ones."""
    order = (number for number, pattern in enumerate(EXPLAINS) if _matches(result, [pattern]))
    return not knows(result), next(order, len(EXPLAINS))


def _matches(result: Result, patterns: Sequence[str]) -> bool:
    name = f"{result.id}:{result.outcome.cause or result.outcome.status}"
    return any(fnmatchcase(name, pattern if ":" in pattern else f"{pattern}:*") for pattern in patterns)


def _error(crash: Result) -> str:
    """The error's message without its numbers, which may be sizes of the inputs."""
    return re.sub("[0-9]+", "", crash.outcome.case)
