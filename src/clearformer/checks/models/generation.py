"""Text that a model writes, against its own logits."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from clearformer.checks.explain.generation import DIAGNOSES, explain, gaps, logits_before
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe

ROWS = 2
PROMPTS = (5, 1, 3)
"""tokens in the prompts that are tried"""


def greedy(probe: Probe) -> Outcome:
    """What is written greedily is what the logits say.

    Training and evaluation look at logits, and people at text. Between them are a loop, often a cache, and an index:
    the logits of the wrong position, a token that is not read again, or a prompt that is forgotten give text that is
    merely worse.

    Prompts of 5, 1 and 3 tokens are continued, two rows at a time, without randomness: where tokens are drawn, the
    likeliest is taken instead. All that was written is given to one forward pass, and each new token must have the
    largest logit at the position before it.
    """
    outcomes = []
    for length in PROMPTS if probe.kind == "causal" else (1,):
        P = min(length, probe.length() // 2)  # noqa: N806
        prompt = probe.inputs(ROWS, P)
        if probe.kind == "encoder-decoder":
            if probe.subject.start is None:
                raise DoesNotApply("the decoder's first token is not known: write Subject(..., start=...)")
            prompt.tokens[:] = probe.subject.start
        for generate in writers(probe):
            outcome = _compare(probe, generate, prompt, count=probe.length() - P)
            if outcome.status == "failed":
                return outcome
            outcomes.append(outcome)
    return max(outcomes, key=lambda outcome: outcome.measured or 0.0)


def past_context(probe: Probe) -> Outcome:
    """Past the context, writing is refused or goes on from the newest tokens.

    A loop that writes more than the context holds has to cut its input. If it cuts the end off instead of the
    beginning, the model reads the same text again and again and repeats one token.

    A prompt that ends three tokens before the context is full is continued by six. An error is accepted. Else the new
    tokens are compared with those of a model that reads only the newest tokens, and of one that reads the oldest.
    """
    context = probe.subject.context
    if context is None or context != probe.max_length or context < 6:
        raise DoesNotApply("a context of 6 to 512 tokens is needed")
    notes = []
    for generate in writers(probe):
        prompt = probe.inputs(ROWS, context - 3)
        try:
            new = _written(probe, generate, prompt, 6)
        except ModelCrashed as refusal:
            notes.append(f"past the context {_name(generate)} refuses: {refusal}")
            continue
        text = torch.cat([prompt.tokens, new], dim=1)
        newest = _gap_past(probe, text, lambda tokens: tokens[:, -context:])
        oldest = _gap_past(probe, text, lambda tokens: tokens[:, :context])
        if newest > TOLERANCE >= oldest:
            case = f"{_name(generate)}: a prompt of {context - 3} tokens and 6 new ones, in a context of {context}"
            cause = "keeps-the-oldest"
            return failed(cause, newest, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])
        way = "from the newest tokens" if newest <= TOLERANCE else "in a way that is not judged"
        notes.append(f"past the context {_name(generate)} goes on {way}")
    return passed(0.0, TOLERANCE, *notes)


def writers(probe: Probe) -> list[Callable[..., Tensor]]:
    """The functions that write text, of which there is at least one."""
    return [one for one in (probe.subject.generate, *probe.subject.generators.values()) if one is not None]


def _name(generate: Callable[..., Tensor]) -> str:
    return str(getattr(generate, "description", "generate"))


def _written(probe: Probe, generate: Callable[..., Tensor], prompt: Inputs, count: int) -> Tensor:
    """The new tokens [B, N]; of an encoder-decoder those that follow the first."""
    new = probe.invoke(generate, prompt.tokens if prompt.source is None else prompt.source, count)
    if not isinstance(new, Tensor) or new.is_floating_point() or new.dim() != 2:
        raise ModelCrashed(f"new tokens [B, N] were expected of {_name(generate)}, found {type(new).__name__}")
    return new


def _compare(probe: Probe, generate: Callable[..., Tensor], prompt: Inputs, count: int) -> Outcome:
    """Whether each new token has the largest logit at the position before it, in one forward pass over the text."""
    name, P = _name(generate), prompt.tokens.shape[1]  # noqa: N806
    write = partial(_written, probe, generate, count=count)
    new = write(prompt)[:, :count]
    if not new.numel() or new.min() < 0 or new.max() >= probe.logits(prompt).shape[-1]:
        case = f"{name}: {count} tokens were asked for after a prompt of {P}, found {new[0].tolist()}"
        return failed("no-tokens", 1, 0, case=case, diagnosis=DIAGNOSES["no-tokens"])
    logits = logits_before(probe, prompt, new)
    worst = float(gaps(logits, new).max())
    if worst > TOLERANCE:
        return explain(probe, prompt, new, logits, write, name)
    write = partial(write, prompt)
    return (
        _again(write, new, f"{name} after a prompt of {P}")
        or _count(generate, write, count)
        or passed(worst, TOLERANCE)
    )


def _again(write: Callable[[], Tensor], new: Tensor, name: str) -> Outcome | None:
    """A failure where a second call writes another text than the first, which was right."""
    try:
        again = write()[:, : new.shape[1]]
        case = f"{name}: the first call writes {new[0].tolist()}, the second {again[0].tolist()}"
    except ModelCrashed as crash:
        again, case = new[:0], f"{name}: the first call writes {new[0].tolist()}, the second fails: {crash}"
    if torch.equal(again, new):
        return None
    return failed("state-left", 1, 0, case=case, diagnosis=DIAGNOSES["state-left"])


def _count(generate: Callable[..., Tensor], write: Callable[[], Tensor], count: int) -> Outcome | None:
    """A failure where more or fewer tokens are written, although nothing can end the text early."""
    found = write().shape[1]
    if found == count or not getattr(generate, "exact", False):
        return None
    case = f"{_name(generate)}: {count} new tokens were asked for, found {found}"
    return failed("count", abs(found - count), 0, case=case, diagnosis=DIAGNOSES["count"])


def _gap_past(probe: Probe, text: Tensor, read: Callable[[Tensor], Tensor]) -> float:
    """The largest gap of the tokens past the context, if the model reads what `read` leaves of those before."""
    context = probe.subject.context or 0
    at = range(context, text.shape[1])
    logits = torch.cat([probe.logits(Inputs(read(text[:, :end])))[:, -1:] for end in at], dim=1)
    return float(gaps(logits, text[:, context:]).max()) if len(at) else 0.0
