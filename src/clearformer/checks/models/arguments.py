"""What the model does with what it is given: it uses each argument, and writes into none."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.explain.loss import labelled_batch
from clearformer.checks.explain.padding import PaddedBatch
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import MIN_INFLUENCE
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.watch import watched
from clearformer.checks.recognise.loss_forms import forms
from clearformer.checks.recognise.plain_masks import SAYING_PADDING
from clearformer.checks.recognise.signature import SEGMENTS

POSITIONS = ("position_ids", "positions", "pos_ids")
MASKS = (*SAYING_PADDING, "attn_mask", "src_mask", "source_mask")
"""names that only mean one thing; `mask` alone may be of the loss"""

Pair = tuple[Tensor, Tensor]
"""two values of an argument"""


def used(probe: Probe) -> Outcome:
    """Segments, positions and masks that the model takes have an influence.

    An argument that is taken and not used is a promise that is not kept: two sentences that are not told apart,
    positions that are counted anew, padding that is attended to. No error tells.

    Where `forward` has an argument of such a name (`token_type_ids`, `segments`, `position_ids`, `attention_mask` and
    the like), unless Subject(unused=...) names it, it is given two values that differ in the middle, in each form and
    type in which the model takes it, and the logits must differ.
    """
    inputs = probe.inputs(2)
    names = [name for name in inspect.signature(probe.module.forward).parameters if name not in probe.subject.unused]
    named = [name for name in names if _pairs(name, inputs)]
    tried, unused = [], []
    for name in named:
        changes = [change for change in _changes(probe, inputs, name) if change is not None]
        tried += [name] if changes else []
        unused += [name] if changes and max(changes) <= MIN_INFLUENCE else []
    if not tried:
        raise DoesNotApply("forward has no argument for segments, positions or a mask whose name and form are known")
    if not unused:
        return passed(0, 0, f"used: {', '.join(tried)}")
    return failed(
        "unused",
        len(unused),
        0,
        case=f"{', '.join(unused)}: the logits do not depend on it",
        diagnosis="The argument is taken and not used: pass it on to where it is needed, or remove it.",
    )


def unchanged(probe: Probe) -> Outcome:
    """The caller's tensors are not written to.

    A model that sets its labels of -100 to 0, shifts its tokens or fills its mask in place changes what the caller
    still uses: the next epoch trains on other data, and nothing says so. Nor is a batch the model's own: what is taken
    out of a dictionary with `pop` is gone for the caller too. Work on a copy: `masked_fill` instead of `masked_fill_`,
    `torch.where`, `clone()`, `batch["tokens"]`.

    Tokens, masks and labels are given to each function of the subject, and the model's methods are watched. PyTorch
    counts what is written to a tensor, and must count nothing; that the values are the same this time does not help.
    """
    for name, call, tensors in _calls(probe):
        versions = [tensor._version for tensor in tensors]  # counts writes, of equal values too
        with watched(probe.model) as written:
            try:
                call(probe.model, *tensors)
            except Exception as error:
                if name == "call" and not written:
                    raise
                del error  # another check says how it fails
        changed = sum(tensor._version != version for tensor, version in zip(tensors, versions, strict=True))
        if written or changed:
            case = f"Subject.{name} has written to {changed} of the {len(tensors)} tensors that it was given"
            return failed(
                "in-place",
                max(len(written), changed),
                0,
                case=f"model.{written[0]} was written to" if written else case,
                diagnosis="The model writes into its arguments: look for an operation that ends in an underscore, for "
                "+=, for an assignment to x[...] on tokens, masks or labels, or for pop on a batch. Work on a copy.",
            )
    return passed(0, 0)


def _calls(probe: Probe) -> Iterator[tuple[str, Callable[..., Any], list[Tensor]]]:
    """Each function of the subject, by its name, and what to call it with."""
    subject, inputs = probe.subject, probe.inputs(2)
    tokens = [tensor for tensor in (inputs.source, inputs.tokens) if tensor is not None]
    yield "call", subject.call, [tensor.clone() for tensor in tokens]
    if subject.padded is not None:
        padded = PaddedBatch(probe, subject.sides[0]).padded
        masks = [padded.real] if padded.source is None else [torch.ones(padded.source.shape[:2]).bool(), padded.real]
        sources = [] if padded.source is None else [padded.source]
        yield "padded", subject.padded, [*sources, padded.tokens, *masks]  # type: ignore[list-item]  # real is set
    if subject.step is not None:
        yield "step", lambda model, *given: subject.step(model, *given, None), tokens  # type: ignore[misc]
    if subject.vocab_size is not None:
        yield from _calls_with_labels(probe)
        yield from _calls_that_write(probe, inputs)


def _calls_with_labels(probe: Probe) -> Iterator[tuple[str, Callable[..., Any], list[Tensor]]]:
    losses = {"loss": probe.subject.loss, **probe.subject.losses}
    for name, loss in losses.items() if probe.kind != "classifier" else ():
        for ignored in (True, False):
            if loss is not None:
                given, labels = labelled_batch(probe, 2)
                labels[:, -1] = -100 if ignored else labels[:, -1]
                yield name, loss, [given.clone(), labels]
    known = {str(getattr(loss, "description", "")).partition(":")[0] for loss in losses.values()}
    for form in forms(probe.subject, "forward") if probe.kind != "classifier" else ():
        if form.takes_labels and not form.needs_mask and form.description not in known:
            given, labels = labelled_batch(probe, 2)
            labels %= probe.logits(probe.inputs(2)).shape[-1]
            labels[:, -1] = -100
            sources = [given.clone()] if probe.kind != "encoder-decoder" else [given.clone(), labels.clamp(min=0)]
            yield form.description, form.run, [*sources, labels]


def _calls_that_write(probe: Probe, inputs: Inputs) -> Iterator[tuple[str, Callable[..., Any], list[Tensor]]]:
    """Tokens are given to what fills places in or goes on from a prompt."""
    subject = probe.subject
    if subject.fill is not None and subject.mask is not None:
        tokens = inputs.tokens.clone()
        tokens[:, ::3] = subject.mask
        yield "fill", subject.fill, [tokens]
    prompt = inputs.tokens if inputs.source is None else inputs.source
    for name, write in {"generate": subject.generate, **subject.generators}.items():
        if write is not None:
            yield name, lambda model, given, write=write: write(model, given, 2), [prompt[:, :3].clone()]
    for name, path in subject.paths.items():
        yield name, path, [inputs.tokens.clone()]


def _pairs(name: str, inputs: Inputs) -> list[Pair]:
    """Pairs of values for the argument of this name; empty where it is none of those that are known."""
    B, T = inputs.tokens.shape[:2]  # noqa: N806
    if name in SEGMENTS:
        return [(torch.zeros(B, T).long(), torch.arange(T).expand(B, T) // ((T + 1) // 2))]
    if name in POSITIONS:
        there, back = torch.arange(T).expand(B, T), torch.arange(T - 1, -1, -1).expand(B, T)
        return [(there, back), (there[0], back[0])]
    if name in MASKS:
        lengths = {T} if inputs.source is None else {T, inputs.source.shape[1]}
        return [pair for S in lengths for pair in _masks(torch.arange(S) == S // 3, B)]
    return []


def _masks(hidden: Tensor, B: int) -> Iterator[Pair]:  # noqa: N803
    """Masks that hide nothing, and one token, in each usual form and type."""
    S = len(hidden)  # noqa: N806
    nothing = torch.zeros_like(hidden)
    values: list[Callable[[Tensor], Tensor]] = [
        lambda hide: (~hide).long(),
        lambda hide: ~hide,
        lambda hide: hide,
        lambda hide: torch.zeros(S).masked_fill(hide, torch.finfo(torch.float32).min),
    ]
    for value in values:
        for shape in ((B, S), (B, 1, 1, S), (S, S)):
            yield value(nothing).expand(shape), value(hidden).expand(shape)


def _changes(probe: Probe, inputs: Inputs, name: str) -> Iterator[float | None]:
    """The change of the logits for each pair of values; None for one that the model does not take."""
    for pair in _pairs(name, inputs):
        try:
            logits = [_logits_with(probe, inputs, name, value) for value in pair]
        except ModelCrashed:
            yield None
            continue
        if logits[0] is None or logits[1] is None or not all(one.isfinite().all() for one in logits if one is not None):
            yield None
        else:
            yield float(difference(logits[0], logits[1]).max())


def _logits_with(probe: Probe, inputs: Inputs, name: str, value: Tensor) -> Tensor | None:
    """The logits when `forward` gets this argument too; None where it is not called through the module."""
    signature, reached = inspect.signature(probe.module.forward), []

    def add(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        bound = signature.bind(*args, **kwargs)
        bound.arguments[name] = value.clone()
        reached.append(name)
        return bound.args, bound.kwargs

    handle = probe.module.register_forward_pre_hook(add, with_kwargs=True)
    try:
        logits = probe.logits(inputs)
    finally:
        handle.remove()
    return logits if reached else None
