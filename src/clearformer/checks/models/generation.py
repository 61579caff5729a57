"""Text that a model writes, against its own logits."""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from clearformer.checks.explain.generation import DIAGNOSES, before_the_end, explain, gaps, logits_before
from clearformer.checks.models import ending
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.recognise.generation import FACTORS, FoundGenerate, PromptLost
from clearformer.checks.weights import randomise_weights

ROWS = 2
PROMPTS = (5, 1, 3, 5)
"""tokens in the prompts that are tried; the first length again, to see what an earlier call leaves behind"""
NEW = {"causal": 6, "encoder-decoder": 10}
"""tokens that are written"""
PADDED_NEW, PADDED_TRIALS = 4, 3
"""tokens after a padded prompt, and batches of such prompts, since a model may repeat a token whatever it reads"""
SOURCE_ROWS = 8
"""enough for some to end before others"""
SAMPLING_TOLERANCE = 0.1
"""standard deviations of the logits: nearer ones may be drawn at the lowest temperature"""


def greedy(probe: Probe) -> Outcome:
    """What is written greedily is what the logits say.

    Training and evaluation look at logits, and people at text. Between them are a loop, often a cache, and an index:
    the logits of the wrong position, a token that is not read again, or a prompt that is forgotten give text that is
    merely worse.

    Prompts of 5, 1, 3 and again 5 tokens are continued, two rows at a time, without randomness: where tokens are drawn,
    the likeliest is taken instead. All that was written is given to one forward pass, and each new token must have the
    largest logit at the position before it. An encoder-decoder gets eight sources, of one length and then with padding.
    Then a token that is written in some rows is declared to end a text: the other rows must be written on as before.
    """
    outcomes, first_length, prompts = [], None, _prompts(probe)
    _let_the_past_decide(probe)
    for prompt in prompts:
        for generate in writers(probe):
            outcome = _compare(probe, generate, prompt, repeats=prompt.tokens.shape[1] == first_length)
            if outcome.status == "failed":
                return outcome
            outcomes.append(outcome)
        first_length = first_length or prompt.tokens.shape[1]
    for generate in writers(probe):
        if (ended := ending.compare(probe, generate, prompts[0], partial(_write_some, probe, prompts[0]))) is not None:
            return ended
    return max(outcomes, key=lambda outcome: outcome.measured or 0.0)


def _write_some(probe: Probe, prompt: Inputs, generate: Callable[..., Tensor]) -> Tensor:
    return _written(probe, generate, prompt, min(NEW[probe.kind], probe.length() - prompt.tokens.shape[1]))


def _let_the_past_decide(probe: Probe) -> None:
    """Enlarge the weights until the same token is followed by others, after other tokens or for other sources.

    Else a model whose output is tied to its embedding repeats the last token, whatever it has read.
    """
    inputs = Probe(probe.subject, probe.seed).inputs(SOURCE_ROWS, min(PROMPTS[0], probe.length()))
    inputs.tokens[:, -1] = inputs.tokens[0, -1]
    for factor in FACTORS:
        randomise_weights(probe.model, probe.seed, factor)
        if len(probe.logits(inputs)[:, -1].argmax(-1).unique()) > SOURCE_ROWS // 2:
            return


def padded(probe: Probe) -> Outcome:
    """Prompts that are padded on the left are continued as each would be alone.

    Prompts of unequal length share a batch by padding, which must be neither read nor counted: a prompt among longer
    ones is else continued otherwise than alone.

    It is tried where the documentation of the method says that prompts are padded on the left, and where the method
    takes a mask, and the model itself hides padding on the left by one. Prompts of 5, 3 and 1 tokens are continued in
    one batch, and then each alone.
    """
    _let_the_past_decide(probe)
    lengths = [min(length, probe.length() // 2) for length in (5, 3, 1)]
    prompts = [probe.inputs(len(lengths), max(lengths)) for _ in range(PADDED_TRIALS)]
    real = torch.arange(max(lengths)) >= max(lengths) - torch.tensor(lengths)[:, None]
    is_known = probe.subject.pad in probe.subject.reserved
    by_token = [one for one in writers(probe) if is_known and getattr(one, "pads", False)]
    by_mask = [
        one for one in writers(probe) if isinstance(one, FoundGenerate) and one.mask_name and one not in by_token
    ]
    tried = [(one, one) for one in by_token]
    if by_mask and _hides_on_the_left(probe, prompts[0], real):
        tried += [(one, one.with_mask(real)) for one in by_mask]
    if not tried:
        raise DoesNotApply(
            "no method that writes says in its documentation that prompts are padded on the left, with a padding token "
            "that is known, or takes a mask with which the model hides padding there"
        )
    for (generate, in_one_batch), prompt in itertools.product(tried, prompts):
        text = Inputs(prompt.tokens.masked_fill(~real, probe.subject.pad))
        together = _written(probe, in_one_batch, text, PADDED_NEW)
        for row, length in enumerate(lengths):
            alone = _written(probe, generate, Inputs(prompt.tokens[row : row + 1, -length:]), PADDED_NEW)
            if not torch.equal(alone[0], together[row]):
                case = f"{_name(generate)}: a prompt of {length} among longer ones is continued by "
                case += f"{together[row].tolist()}, alone by {alone[0].tolist()}"
                return failed("padding-read", 1, 0, case=case, diagnosis=DIAGNOSES["padding-read"])
    return passed(0, 0)


def _hides_on_the_left(probe: Probe, prompt: Inputs, real: Tensor) -> bool:
    """Whether one forward pass over all prompts gives each the logits that it has alone."""
    if probe.subject.padded is None:
        return False
    try:
        together = probe.logits(prompt.replace(real=real))
    except ModelCrashed:  # other checks say so
        return False
    alone = [probe.logits(Inputs(row[keep][None]))[0] for row, keep in zip(prompt.tokens, real, strict=True)]
    found = [row[-len(one) :] for row, one in zip(together, alone, strict=True)]
    return max(float(difference(*pair).max()) for pair in zip(found, alone, strict=True)) <= TOLERANCE


def sampling(probe: Probe) -> Outcome:
    """Where only the likeliest token can be drawn, it is drawn.

    What top-k or top-p leaves out must not be drawn at all: a logit of 0 in place of -inf leaves it a chance, and text
    is wrong once in a while. A temperature that multiplies instead of dividing makes text the wilder the lower it is.

    With top_k=1, or a temperature or top_p of a millionth, where there are such arguments, prompts are continued with
    several seeds, and each new token must have the largest logit. The weights are the model's own, since larger ones
    leave other tokens no chance anyway.
    """
    if not probe.subject.samplers:
        raise DoesNotApply("no method was found that draws tokens by top_k, top_p or a temperature")
    worst = 0.0
    for name, sample in probe.subject.samplers.items():
        for seed in range(3):
            prompt = _prompts(probe)[0]
            torch.manual_seed(seed)
            new = _written(probe, sample, prompt, min(NEW[probe.kind], probe.length() - prompt.tokens.shape[1]))
            distances = _distances(probe, prompt, new)
            if distances.max() > SAMPLING_TOLERANCE:
                case = f"{name}: a token was drawn whose logit is {float(distances.max()):.2g} standard deviations "
                case += "below the largest one"
                worst = float(distances.max())
                return failed("sampling", worst, SAMPLING_TOLERANCE, case=case, diagnosis=DIAGNOSES["sampling"])
            worst = max(worst, float(distances.max()))
    return passed(worst, SAMPLING_TOLERANCE)


def _prompts(probe: Probe) -> list[Inputs]:
    """Prompts for a causal model; for an encoder-decoder sources, with the first token, of which one has padding."""
    subject = probe.subject
    if probe.kind == "causal":
        return [probe.inputs(ROWS, min(length, probe.length() // 2)) for length in PROMPTS]
    if subject.start is None:
        raise DoesNotApply("the decoder's first token is not known: write Subject(..., start=...)")
    prompts = [probe.inputs(SOURCE_ROWS, 1) for _ in range(2)]
    for prompt in prompts:
        prompt.tokens[:] = subject.start
    if subject.padded is None or subject.pad not in subject.reserved:
        return prompts
    assert prompts[0].source is not None
    lengths = 1 + torch.arange(SOURCE_ROWS)[:, None] % prompts[0].source.shape[1]
    real = torch.arange(prompts[0].source.shape[1]) < lengths.flip(0)
    return [*prompts, prompts[0].replace(source=prompts[0].source.masked_fill(~real, subject.pad), source_real=real)]


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
    _let_the_past_decide(probe)
    for generate in writers(probe):
        prompt = probe.inputs(ROWS, context - 3)
        try:
            new = _written(probe, generate, prompt, 6)
        except PromptLost as lost:
            case = f"a prompt of {context - 3} tokens and 6 new ones, in a context of {context}: {lost}"
            return failed("prompt-lost", 1, 0, case=case, diagnosis=DIAGNOSES["prompt-lost"])
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


def _distances(probe: Probe, prompt: Inputs, new: Tensor) -> Tensor:
    """[B, N]: how far each new token is from the likeliest, in standard deviations; 0 after the end of a text."""
    logits, V = logits_before(probe, prompt, new), probe.subject.vocab_size  # noqa: N806
    distances = gaps(logits, new)
    if V is not None and int(new.max()) < V < logits.shape[-1]:
        distances = distances.minimum(gaps(logits[..., :V], new))  # rows past the vocabulary are no tokens
    return distances.masked_fill(~before_the_end(new, probe.subject.end), 0.0)


def _compare(probe: Probe, generate: Callable[..., Tensor], prompt: Inputs, repeats: bool) -> Outcome:
    """Whether each new token has the largest logit at the position before it, in one forward pass over the text.

    `repeats`: another prompt of the same length was continued rightly before.
    """
    name, P = _name(generate), prompt.tokens.shape[1]  # noqa: N806
    count = min(NEW[probe.kind], probe.length() - P)
    write = partial(_written, probe, generate, count=count)
    text = write(prompt)
    new = text[:, :count]
    if not new.numel() or new.min() < 0 or new.max() >= probe.logits(prompt).shape[-1]:
        case = f"{name}: {count} tokens were asked for after a prompt of {P}, found {new[:1].flatten().tolist()}"
        return failed("no-tokens", 1, 0, case=case, diagnosis=DIAGNOSES["no-tokens"])
    distances = _distances(probe, prompt, new)
    worst = float(distances.max())
    if worst > TOLERANCE:
        cause = "source-padding" if prompt.source_real is not None else "state-left" if repeats else None
        return explain(probe, prompt, new, distances, write, name, cause)
    again = None if repeats else _again(partial(write, prompt), new, f"{name} after a prompt of {P}")
    return again or _count(probe, generate, text, count) or passed(worst, TOLERANCE)


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


def _count(probe: Probe, generate: Callable[..., Tensor], new: Tensor, count: int) -> Outcome | None:
    """A failure where another number of tokens is written, although nothing, or not everything, has ended."""
    end, found = probe.subject.end, new.shape[1]
    case = f"{_name(generate)}: {count} new tokens were asked for, found {found}"
    if found != count and getattr(generate, "exact", False):
        return failed("count", abs(found - count), 0, case=case, diagnosis=DIAGNOSES["count"])
    ended = torch.tensor([]) if end is None else (new == end).any(1)
    if found < count - 1 and bool(ended.any()) and not bool(ended.all()):
        case += f", after which {int(ended.sum())} of {len(ended)} rows had ended"
        return failed("ended-early", count - found, 0, case=case, diagnosis=DIAGNOSES["ended-early"])
    return None


def _gap_past(probe: Probe, text: Tensor, read: Callable[[Tensor], Tensor]) -> float:
    """The largest gap of the tokens past the context, if the model reads what `read` leaves of those before."""
    context = probe.subject.context or 0
    at = range(context, text.shape[1])
    logits = torch.cat([probe.logits(Inputs(read(text[:, :end])))[:, -1:] for end in at], dim=1)
    return float(gaps(logits, text[:, context:]).max()) if len(at) else 0.0
