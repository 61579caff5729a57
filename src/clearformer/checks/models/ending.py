"""A text ends with a token: rows that are not done must be written on when others are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.explain.generation import DIAGNOSES
from clearformer.checks.outcome import ModelCrashed, Outcome, failed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.recognise.generation import NO_TOKEN, FoundGenerate

Write = Callable[[Callable[..., Tensor]], Tensor]
"""what a generator writes after the prompt: new tokens [B, N]"""


def compare(probe: Probe, generate: Callable[..., Any], prompt: Inputs, write: Write) -> Outcome | None:
    """A failure where the text of a row depends on whether others have ended; None where it cannot be tried.

    One of the tokens that are written anyway is declared to be the one that ends a text, so that some rows end early.
    """
    if not isinstance(generate, FoundGenerate) or (endless := generate.ending_with(probe.model, NO_TOKEN)) is None:
        return None
    try:
        before = write(endless)
    except ModelCrashed:  # it cannot do without an end
        return None
    for token in _tokens_that_end_a_row(before, prompt.tokens):
        name = f"{generate.description}: when {token} ends a text,"
        try:
            after = write(generate.ending_with(probe.model, token) or endless)
        except ModelCrashed as crash:
            return failed("ended-early", 1, 0, case=f"{name} it fails: {crash}", diagnosis=DIAGNOSES["ended-early"])
        if (outcome := _judge(before, after, token, name)) is not None:
            return outcome
    return None


def _judge(before: Tensor, after: Tensor, token: int, name: str) -> Outcome | None:
    """Whether the same is written up to the end of each row."""
    N, found = before.shape[1], after.shape[1]  # noqa: N806
    lengths = _lengths(before, token)
    if found < int(lengths.max()) - 1:
        ended = int((lengths <= found).sum())
        case = f"{name} it stops after {found} new tokens, though only {ended} of {len(lengths)} rows have ended"
        return failed("ended-early", N - found, 0, case=case, diagnosis=DIAGNOSES["ended-early"])
    common = min(N, found)
    alive = torch.arange(common) < lengths[:, None]
    changed = ((before[:, :common] != after[:, :common]) & alive).any(1)
    if not changed.any():
        return _after_the_end(before, after, lengths, name)
    case = f"{name} {int(changed.sum())} of {len(changed)} rows get other tokens before their own end"
    return failed("changed-by-an-end", 1, 0, case=case, diagnosis=DIAGNOSES["changed-by-an-end"])


def _after_the_end(before: Tensor, after: Tensor, lengths: Tensor, name: str) -> Outcome | None:
    """A failure where padding is written after the end of a row, and then something else."""
    for row, length in enumerate(lengths.tolist()):
        rest = after[row, length:]
        if length < before.shape[1] and len(rest) and rest[0] != before[row, length] and (rest != rest[0]).any():
            case = f"{name} row {row} goes on with {rest.tolist()} behind it"
            return failed("written-behind-the-end", 1, 0, case=case, diagnosis=DIAGNOSES["written-behind-the-end"])
    return None


def _tokens_that_end_a_row(text: Tensor, prompt: Tensor) -> list[int]:
    """Tokens that end some rows of a text [B, N] long before others: one that ends the first row early, one not."""
    best: dict[bool, tuple[int, int]] = {}
    for token in text.unique().tolist():
        lengths = _lengths(text, token)
        gap = int(lengths.max() - lengths.min())
        is_first = bool(lengths[0] < lengths.max())
        if gap and token not in prompt:
            best[is_first] = max(best.get(is_first, (0, -1)), (gap, token))
    return [token for _, token in best.values()]


def _lengths(text: Tensor, token: int) -> Tensor:
    """[B]: the number of tokens of each row up to the first of these, or of all."""
    ends = (text == token).int()
    return torch.where(ends.any(1), ends.argmax(1) + 1, text.shape[1])
