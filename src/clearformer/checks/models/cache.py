"""A model with a cache computes the same as without."""

import math
from functools import partial
from typing import Any

import torch

from clearformer.checks.explain import cache as explain_cache
from clearformer.checks.explain.cache_attention import inferred_positions
from clearformer.checks.explain.prompts import PromptBatch
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.models import memories
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.recognise.outputs import extract_logits

ROWS = 2
STEPS = 4


def steps(probe: Probe) -> Outcome:
    """Token by token with a cache, the logits are those of one forward pass.

    A cache saves work and must not change a number. Training does not use it, so a bug in it shows in generated text
    alone, as text that is merely worse. x-transformers, litgpt, nanoGPT and torchtune had such bugs.

    Twelve tokens are given one at a time and in one forward pass. Where the logits differ, each token in turn is
    replaced to find what a step sees, and the scores of the first attention are compared to find the position it uses.
    """
    T = probe.length()  # noqa: N806
    return _compare_chunks(probe, [[1] * T])


def chunks(probe: Probe) -> Outcome:
    """In chunks of any size with a cache, the logits are those of one forward pass.

    A prompt is read in one chunk and a long one in several. Each chunk needs a causal mask that is offset by the number
    of cached tokens, and positions that continue from it; steps of one token need neither mask, so they can be right
    while this is wrong.

    Chunks of 12, 5 + 4 + 3, 1 + 11 and 11 + 1 tokens are compared with one forward pass. Fix the mask: query i of a
    chunk sees keys up to (cached tokens) + i.
    """
    T = probe.length()  # noqa: N806
    if T < 3:
        raise DoesNotApply(f"a context of at least 3 tokens is needed, found {T}")
    first, second = T * 5 // 12, T // 3
    return _compare_chunks(probe, [[T], [first, second, T - first - second], [1, T - 1], [T - 1, 1]])


def unequal(probe: Probe) -> Outcome:
    """Rows with prompts of unequal length continue as each would alone.

    The prompts of a batch are padded, so each row has its own length: its next token follows its own prompt, and sees
    that and not the padding. Counting from the padded length instead changes every shorter row.

    Prompts of 8, 4 and 1 tokens are continued for four tokens in one batch, and compared with one forward pass of each
    row. Keep a length for each row, and derive positions and mask from it.
    """
    T, new = probe.length(), probe.length() // 3  # noqa: N806
    if T < 6:
        raise DoesNotApply(f"a context of at least 6 tokens is needed, found {T}")
    lengths = [T - new, (T - new) // 2, 1]
    tokens = probe.inputs(len(lengths), T).tokens
    rows = PromptBatch(probe, tokens, lengths)
    differences = rows.differences()
    worst = max(float(row.max()) for row in differences)
    return pass_or_explain(probe, Inputs(tokens), worst, lambda: rows.explain(differences))


def limit(probe: Probe) -> Outcome:
    """The cache holds the full context, and going past it is an error or stays correct.

    In the last tokens of a context storage that is one token short shows, and beyond it a clamped position or an
    overwritten slot gives text without an error.

    The full context, up to 512 tokens, is read but for three tokens, then stepped to its end, and compared with one
    forward pass. One more token must raise an error or give finite logits, at a position of its own, and the step after
    it must see it.
    """
    T = probe.max_length  # noqa: N806
    if T < 6:
        raise DoesNotApply(f"a context of at least 6 tokens is needed, found {T}")
    inputs = probe.inputs(ROWS, T)
    inputs = inputs.map(lambda tensor: tensor[:1].repeat_interleave(ROWS, dim=0))
    outputs, cache = [], None
    for tokens in inputs.tokens.split([T - 3, 1, 1, 1], dim=1):
        logits, cache = probe.step(inputs.replace(tokens=tokens), cache)
        outputs.append(logits)
    differences = difference(torch.cat(outputs, dim=1), probe.logits(inputs)).amax(0)
    worst = float(differences.max())
    if worst > TOLERANCE:
        return pass_or_explain(probe, inputs, worst, lambda: _explain_end_of_context(probe, differences))
    if probe.subject.context != T:
        return passed(worst, TOLERANCE, f"tried up to {T} tokens")
    return _past_the_context(probe, inputs, cache, worst)


def separate(probe: Probe) -> Outcome:
    """Two caches do not influence each other.

    A cache that is stored on the module, or in a default argument, is shared by all callers. Two conversations then get
    each other's past, and a new sequence begins with an old one in its cache.

    Two sequences are stepped one after the other, and if the first matches one forward pass, so must the second; then
    in turn, each with its own cache, and each must match itself alone. Return the cache from the call and take it back
    with the next. Memories, with which segment after segment is trained on, must not lead a gradient into the segment
    before.
    """
    if (outcome := memories.kept_graph(probe)) is not None:
        return outcome
    T = probe.length(STEPS)  # noqa: N806
    sequences = [probe.inputs(ROWS, T), probe.inputs(ROWS, T)]
    alone = [probe.cached_logits(sequences[0], [1] * T)]
    first = float(difference(probe.logits(sequences[0]), alone[0]).max())
    try:
        alone.append(probe.cached_logits(sequences[1], [1] * T))
        second = float(difference(probe.logits(sequences[1]), alone[1]).max())
        case = f"a second sequence, stepped, is {second:.2g} standard deviations from one forward pass"
    except ModelCrashed as crash:
        second, case = math.inf, f"a first sequence can be stepped, and a second one fails: {crash}"
    if first <= TOLERANCE < second:
        return failed("kept-between-texts", second, TOLERANCE, case=case, diagnosis=DIAGNOSES["kept-between-texts"])
    if probe.subject.keeps_cache:
        if max(first, second) > TOLERANCE:
            raise DoesNotApply("its steps differ from one forward pass: see cache.steps")
        return passed(max(first, second), TOLERANCE, "the model keeps its cache itself, so that there is no second one")
    caches: list[Any] = [None, None]
    differences = torch.zeros(T)
    for t in range(T):
        for number, sequence in enumerate(sequences):
            logits, caches[number] = probe.step(token_at(sequence, t), caches[number])
            differences[t] = max(differences[t], difference(logits, alone[number][:, t : t + 1]).max())

    def explain() -> Outcome:
        t = int((differences > TOLERANCE).nonzero()[0])
        cause = "shared-cache" if t else "kept-between-texts"
        case = (
            f"two sequences stepped in turn: step {t} is {differences[t]:.2g} standard deviations "
            "of the logits from alone"
        )
        return failed(cause, float(differences.max()), TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])

    return pass_or_explain(probe, sequences[0], float(differences.max()), explain)


def read_only(probe: Probe) -> Outcome:
    """A call without a cache and a cached sequence do not influence each other, and returned logits do not change.

    A model that stores its cache or its position on itself gives other logits after generating, and continues
    differently after a forward pass in between, such as an evaluation while generating. One that reuses a buffer for
    its output overwrites what the caller still holds. Changing the cache in place is allowed, and common.

    One forward pass is computed before and after stepping through a sequence, others between the steps, and the logits
    of each step are compared again in the end. Keep no state on the module.
    """
    if probe.subject.keeps_cache:
        raise DoesNotApply("the model keeps its cache itself, and a call without it may begin a new one")
    T = probe.length(STEPS)  # noqa: N806
    sequence, other = probe.inputs(ROWS, T), probe.inputs(ROWS, T)
    before, alone = probe.logits(sequence), probe.cached_logits(sequence, [1] * T)
    after = float(difference(probe.logits(sequence), before).max())
    returned, copies, cache = [], [], None
    sources = () if sequence.source is None else (sequence.source,)
    for t in range(T):
        assert probe.subject.step is not None
        out = probe.invoke(probe.subject.step, *sources, token_at(sequence, t).tokens, cache)
        logits, cache = probe.read_step(out, token_at(sequence, t).tokens)
        returned.append(extract_logits(out[0]))
        copies.append(logits)
        probe.logits(other)
    changes = {
        "cache-changes-forward": after,
        "forward-changes-cache": float(difference(torch.cat(copies, dim=1), alone).max()),
        "logits-rewritten": max(float(difference(*pair).max()) for pair in zip(returned, copies, strict=True)),
    }
    worst = max(changes.values())

    def explain() -> Outcome:
        cause = next(cause for cause, change in changes.items() if change > TOLERANCE)
        case = f"{CASES[cause]} differ by {changes[cause]:.2g} standard deviations"
        return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])

    return pass_or_explain(probe, sequence, worst, explain)


def token_at(inputs: Inputs, t: int) -> Inputs:
    """The token at t of each row."""
    return inputs.replace(tokens=inputs.tokens[:, t : t + 1])


def _compare_chunks(probe: Probe, chunkings: list[list[int]]) -> Outcome:
    """Compare the tokens, cut into chunks of these lengths, with one forward pass."""
    inputs = probe.inputs(ROWS, sum(chunkings[0]))
    full, worst = probe.logits(inputs), 0.0
    for chunk_lengths in chunkings:
        differences = difference(probe.cached_logits(inputs, chunk_lengths), full).amax(0)
        worst = max(worst, float(differences.max()))
        if worst > TOLERANCE:
            explain = partial(explain_cache.explain, probe, chunk_lengths, differences)
            return pass_or_explain(probe, inputs, worst, explain)
    return passed(worst, TOLERANCE)


def _explain_end_of_context(probe: Probe, differences: torch.Tensor) -> Outcome:
    T = probe.length()  # noqa: N806
    chunk_lengths, short = [T - 3, 1, 1, 1], probe.inputs(ROWS, T)
    short_differences = difference(probe.cached_logits(short, chunk_lengths), probe.logits(short)).amax(0)
    if short_differences.max() > TOLERANCE:
        return explain_cache.explain(probe, chunk_lengths, short_differences)
    t = int((differences > TOLERANCE).nonzero()[0])
    case = (
        f"{len(differences)} tokens, the last three stepped: from position {t} on the logits differ from one forward "
        f"pass by {differences.max():.2g} standard deviations; with {T} tokens they do not"
    )
    return failed("at-the-limit", float(differences.max()), TOLERANCE, case=case, diagnosis=DIAGNOSES["at-the-limit"])


def _past_the_context(probe: Probe, inputs: Inputs, cache: Any, worst: float) -> Outcome:
    """The cache holds the full context, equal in both rows; each gets two more tokens, the first of which differs."""
    extra = probe.draw(1, 2).repeat_interleave(ROWS, dim=0)
    extra[1, 0] = probe.replacements(extra)[1, 0]
    outputs = []
    try:
        for tokens in extra.split(1, dim=1):
            logits, cache = probe.step(inputs.replace(tokens=tokens), cache)
            outputs.append(logits)
    except ModelCrashed as refusal:
        return passed(worst, TOLERANCE, f"past the context the model refuses: {refusal}")
    T = probe.max_length  # noqa: N806
    if not all(logits.isfinite().all() for logits in outputs):
        case = f"after {T} tokens, the full context, the logits of the next two are not finite"
        return failed("not-finite-beyond", math.inf, TOLERANCE, case=case, diagnosis=DIAGNOSES["not-finite-beyond"])
    if difference(outputs[1][1], outputs[1][0]).max() <= MIN_INFLUENCE:
        case = f"replacing token {T}, the first past the context, does not change the logits at {T + 1}"
        return failed("newest-lost", 1, 0, case=case, diagnosis=DIAGNOSES["newest-lost"])
    (position,) = inferred_positions(probe, past=T, new=1, length=T)
    if position is not None:
        case = f"token {T}, the first past the context, gets position {position}"
        return failed("position-clamped", T - position, 0, case=case, diagnosis=DIAGNOSES["position-clamped"])
    return passed(worst, TOLERANCE, "past the context the model continues, and its logits are finite")


CASES = {
    "cache-changes-forward": "the logits of one forward pass before and after stepping",
    "forward-changes-cache": "the logits of steps with and without other forward passes in between",
    "logits-rewritten": "the logits returned by steps, then and after further steps,",
}
DIAGNOSES = {
    "at-the-limit": "The cache is wrong only where it is nearly full: look at the size of its storage, at tables of "
    "positions, and at what is dropped from it.",
    "not-finite-beyond": "Past the context the model gives NaN or infinity instead of an error. Raise one that "
    "names the context's length.",
    "newest-lost": "Tokens past the end of the storage are not stored, or one slot is overwritten again and again, so "
    "that the newest tokens are lost. Raise an error, or drop the oldest.",
    "position-clamped": "The position past the end of its table is clamped or wraps round, so that two tokens share "
    "one position and the text gets worse without an error. Raise one that names the context's length.",
    "shared-cache": "The caches share storage: it is stored on the module, in a class attribute or in a default "
    "argument.",
    "kept-between-texts": "A sequence that begins with an empty cache finds an earlier one in it: a cache on the "
    "module, or in a default argument such as cache=[], is never emptied.",
    "cache-changes-forward": "Stepping leaves something on the module that a forward pass without a cache uses: keys "
    "and values, or the position of the next token.",
    "forward-changes-cache": "A forward pass without a cache changes what the next step finds: the cache, or the "
    "number of its tokens, is stored on the module and overwritten.",
    "logits-rewritten": "Steps return the same buffer each time, so that logits which the caller still holds are "
    "overwritten. Return a new tensor, or a copy.",
}
