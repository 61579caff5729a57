"""Does a model with a cache give what it gives without?"""

import math
from typing import Any

import torch

from clearformer.checks.explain import cache as cache_causes
from clearformer.checks.explain.cache_attention import positions
from clearformer.checks.explain.prompts import Rows
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE, MIN_INFLUENCE
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.recognise.outputs import extract_logits

ROWS = 2
STEPS = 4


def steps(probe: Probe) -> Outcome:
    """Token by token with a cache, the logits are those of one forward.

    A cache saves work and may not change a number. In training there is none, so what is wrong with it shows in
    generated text alone, as text that is merely worse. x-transformers, litgpt, nanoGPT and torchtune had such bugs.

    Twelve tokens are given one at a time and in one forward. Where they differ, each token is exchanged in turn to find
    what a step sees, and the scores of the first attention are compared to find the position it takes.
    """
    T = probe.length()  # noqa: N806
    return _same(probe, [[1] * T])


def chunks(probe: Probe) -> Outcome:
    """In pieces of any size with a cache, the logits are those of one forward.

    A prompt is read in one piece and long ones in several. Each piece needs a causal mask whose corner lies behind what
    is cached, and positions that count on; steps of one token need neither, so they can be right while this is wrong.

    Pieces of 12, 5 + 4 + 3, 1 + 11 and 11 + 1 tokens are compared with one forward. Mend the mask: query i of a piece
    sees keys up to (cached tokens) + i.
    """
    T = probe.length()  # noqa: N806
    if T < 3:
        raise DoesNotApply(f"a context of at least 3 tokens is needed, found {T}")
    first, second = T * 5 // 12, T // 3
    return _same(probe, [[T], [first, second, T - first - second], [1, T - 1], [T - 1, 1]])


def unequal(probe: Probe) -> Outcome:
    """Rows with prompts of unequal length go on as each would alone.

    Prompts of a batch are padded, and then each row has its own length: its next token stands behind its own prompt,
    and sees that and not the padding. Counting from the padded length instead moves every shorter row.

    Prompts of 8, 4 and 1 tokens go on for four tokens together, and are compared with one forward of each row. Keep a
    length for each row, and take positions and mask from it.
    """
    T, new = probe.length(), probe.length() // 3  # noqa: N806
    if T < 6:
        raise DoesNotApply(f"a context of at least 6 tokens is needed, found {T}")
    lengths = [T - new, (T - new) // 2, 1]
    tokens = probe.inputs(len(lengths), T).tokens
    rows = Rows(probe, tokens, lengths)
    apart = rows.apart()
    worst = max(float(row.max()) for row in apart)
    return pass_or_explain(probe, Inputs(tokens), worst, lambda: rows.explain(apart))


def limit(probe: Probe) -> Outcome:
    """The cache holds the full context, and going past it is an error or stays sound.

    The last tokens of a context are where storage is a token short, and beyond it a position that is clamped or a slot
    that is written twice gives text without an error.

    The full context, up to 512 tokens, is read but for three tokens, then stepped to its end, as in one forward. One
    token more must raise an error or give finite logits, at a position of its own, and the step after it must see it.
    """
    T = probe.max_length  # noqa: N806
    if T < 6:
        raise DoesNotApply(f"a context of at least 6 tokens is needed, found {T}")
    inputs = probe.inputs(ROWS, T)
    inputs = inputs.map(lambda tensor: tensor[:1].repeat_interleave(ROWS, dim=0))
    done, cache = [], None
    for tokens in inputs.tokens.split([T - 3, 1, 1, 1], dim=1):
        logits, cache = probe.step(inputs.replace(tokens=tokens), cache)
        done.append(logits)
    apart = difference(torch.cat(done, dim=1), probe.logits(inputs)).amax(0)
    worst = float(apart.max())
    if worst > TOLERANCE:
        return pass_or_explain(probe, inputs, worst, lambda: _why_at_the_end(probe, apart))
    if probe.subject.context != T:
        return passed(worst, TOLERANCE, f"tried up to {T} tokens")
    return _beyond(probe, inputs, cache, worst)


def separate(probe: Probe) -> Outcome:
    """Two caches do not disturb each other.

    A cache that is kept on the module, or in a default argument, belongs to whoever calls next. Two conversations then
    get each other's past, and a new text begins with an old one in its memory.

    Two texts are stepped one after the other, and if the first is as in one forward, so must the second be; then in
    turn, each with its own cache, and each as alone. Return the cache from the call and take it back with the next.
    """
    T = probe.length(STEPS)  # noqa: N806
    texts = [probe.inputs(ROWS, T), probe.inputs(ROWS, T)]
    alone = [probe.steps(text, [1] * T) for text in texts]
    first, second = (float(difference(probe.logits(text), one).max()) for text, one in zip(texts, alone, strict=True))
    if first <= TOLERANCE < second:
        case = f"a second text, stepped, is {second:.2g} of the logits' spread away from one forward; the first is not"
        return failed("kept-between-texts", second, TOLERANCE, case=case, diagnosis=DIAGNOSES["kept-between-texts"])
    caches: list[Any] = [None, None]
    apart = torch.zeros(T)
    for t in range(T):
        for number, text in enumerate(texts):
            logits, caches[number] = probe.step(at(text, t), caches[number])
            apart[t] = max(apart[t], difference(logits, alone[number][:, t : t + 1]).max())

    def explain() -> Outcome:
        t = int((apart > TOLERANCE).nonzero()[0])
        cause = "shared-cache" if t else "kept-between-texts"
        case = f"two texts stepped in turn: at step {t} the logits are {apart[t]:.2g} of their spread from those alone"
        return failed(cause, float(apart.max()), TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])

    return pass_or_explain(probe, texts[0], float(apart.max()), explain)


def read_only(probe: Probe) -> Outcome:
    """A call without a cache and a text in a cache leave each other alone, and given logits stay as they are.

    A model that keeps its cache or its position to itself answers differently after generating, and goes on differently
    after a forward in between, as in evaluating while generating. One that reuses a buffer for its output rewrites what
    the caller still holds. Changing the cache in place is allowed: many do.

    One forward is taken before and after stepping through a text, another between any two steps, and the logits of each
    step are looked at again in the end. Keep no state on the module.
    """
    T = probe.length(STEPS)  # noqa: N806
    text, other = probe.inputs(ROWS, T), probe.inputs(ROWS, T)
    before, alone = probe.logits(text), probe.steps(text, [1] * T)
    after = float(difference(probe.logits(text), before).max())
    given, kept, cache = [], [], None
    sources = () if text.source is None else (text.source,)
    for t in range(T):
        assert probe.subject.step is not None
        out = probe.invoke(probe.subject.step, *sources, at(text, t).tokens, cache)
        logits, cache = probe.pair(out, at(text, t).tokens)
        given.append(extract_logits(out[0]))
        kept.append(logits)
        probe.logits(other)
    moved = {
        "cache-changes-forward": after,
        "forward-changes-cache": float(difference(torch.cat(kept, dim=1), alone).max()),
        "logits-rewritten": max(float(difference(*pair).max()) for pair in zip(given, kept, strict=True)),
    }
    worst = max(moved.values())

    def explain() -> Outcome:
        cause = next(cause for cause, by in moved.items() if by > TOLERANCE)
        case = f"{CASES[cause]} differ by {moved[cause]:.2g} of their spread"
        return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])

    return pass_or_explain(probe, text, worst, explain)


def at(inputs: Inputs, t: int) -> Inputs:
    """The token at t of each row."""
    return inputs.replace(tokens=inputs.tokens[:, t : t + 1])


def _same(probe: Probe, cuts: list[list[int]]) -> Outcome:
    """Compare each way to cut the tokens with one forward."""
    inputs = probe.inputs(ROWS, sum(cuts[0]))
    full, worst = probe.logits(inputs), 0.0
    for pieces in cuts:
        apart = difference(probe.steps(inputs, pieces), full).amax(0)
        worst = max(worst, float(apart.max()))
        if worst > TOLERANCE:
            return pass_or_explain(probe, inputs, worst, lambda: cache_causes.explain(probe, pieces, apart))  # noqa: B023
    return passed(worst, TOLERANCE)


def _why_at_the_end(probe: Probe, apart: torch.Tensor) -> Outcome:
    T = probe.length()  # noqa: N806
    pieces, short = [T - 3, 1, 1, 1], probe.inputs(ROWS, T)
    apart_short = difference(probe.steps(short, pieces), probe.logits(short)).amax(0)
    if apart_short.max() > TOLERANCE:
        return cache_causes.explain(probe, pieces, apart_short)
    t = int((apart > TOLERANCE).nonzero()[0])
    case = (
        f"of {len(apart)} tokens, the last three stepped: from position {t} on the logits differ from one forward's, "
    )
    case += f"by {apart.max():.2g} of their spread; with {T} tokens they do not"
    return failed("at-the-limit", float(apart.max()), TOLERANCE, case=case, diagnosis=DIAGNOSES["at-the-limit"])


def _beyond(probe: Probe, inputs: Inputs, cache: Any, worst: float) -> Outcome:
    """The cache holds the full context, the same in both rows; now each gets two tokens more, of which one differs."""
    more = probe.draw(1, 2).repeat_interleave(ROWS, dim=0)
    more[1, 0] = probe.other(more)[1, 0]
    done = []
    try:
        for tokens in more.split(1, dim=1):
            logits, cache = probe.step(inputs.replace(tokens=tokens), cache)
            done.append(logits)
    except ModelCrashed as refusal:
        return passed(worst, TOLERANCE, f"past the context the model refuses: {refusal}")
    T = probe.max_length  # noqa: N806
    if not all(logits.isfinite().all() for logits in done):
        case = f"after {T} tokens, the full context, the logits of the next two are not finite"
        return failed("not-finite-beyond", math.inf, TOLERANCE, case=case, diagnosis=DIAGNOSES["not-finite-beyond"])
    if difference(done[1][1], done[1][0]).max() <= MIN_INFLUENCE:
        case = f"exchanging token {T}, the first past the context, does not move the logits at {T + 1}"
        return failed("newest-lost", 1, 0, case=case, diagnosis=DIAGNOSES["newest-lost"])
    (place,) = positions(probe, past=T, new=1, length=T)
    if place is not None:
        case = f"token {T}, the first past the context, is taken to stand at position {place}"
        return failed("position-clamped", T - place, 0, case=case, diagnosis=DIAGNOSES["position-clamped"])
    return passed(worst, TOLERANCE, "past the context the model goes on, and its logits are finite")


CASES = {
    "cache-changes-forward": "the logits of one forward before and after stepping",
    "forward-changes-cache": "the logits of steps with and without other forwards in between",
    "logits-rewritten": "the logits that steps gave back, then and after further steps,",
}
DIAGNOSES = {
    "at-the-limit": "The cache goes wrong only where it is nearly full: look at the size of its storage, at tables "
    "of positions, and at what is dropped from it.",
    "not-finite-beyond": "Past the context the model gives NaN or infinity in place of an error. Raise one that "
    "names the context's length.",
    "newest-lost": "What is past the end of the storage is not kept, or one slot is written again and again, so that "
    "the newest tokens are forgotten. Raise an error, or drop the oldest.",
    "position-clamped": "The position past the end of its table is clamped or wraps round, so that two tokens share "
    "one place and the text gets worse without an error. Raise one that names the context's length.",
    "shared-cache": "The caches share storage: it is kept on the module, in a class attribute or in a default "
    "argument.",
    "kept-between-texts": "A text that begins with an empty cache finds an earlier one in it: what is kept on the "
    "module, or in a default argument such as cache=[], is never emptied.",
    "cache-changes-forward": "Stepping leaves something on the module that a forward without a cache uses: keys and "
    "values, or the position where the next token would stand.",
    "forward-changes-cache": "A forward without a cache changes what the next step finds: the cache, or the number "
    "of its tokens, is kept on the module and overwritten.",
    "logits-rewritten": "Steps return one and the same buffer, so that logits which the caller still holds are "
    "overwritten. Return a new tensor, or a copy.",
}
