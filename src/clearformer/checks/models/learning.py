"""Does it learn?"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe import training as lessons
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.training import IGNORE_INDEX, Training, LabelledBatch, unreserved_tokens, learn

BY_HEART = 0.1
"""nats: correct models fell below it in 10 to 215 steps; one that cannot read its context stays above 0.6"""
LETTERS, LONG = 4, 3
"""a task's alphabet, and the length of its strings: there are 64 strings"""
BEATEN = 0.5 * math.log(LETTERS)
"""nats: half of what is left to a model that knows the letters, and not where they stood"""
SAME = 1e-4
"""a share of the logits' spread: two forwards without dropout differ by 0.0, with dropout by more than 1e-2"""


def one_batch(probe: Probe) -> Outcome:
    """One batch can be learned to a loss near 0.

    A model with thousands of weights can learn 48 tokens by heart. One that cannot is broken somewhere between its
    input and its loss, and no amount of data will mend it. This is the first thing to try with any new model.

    A copy of the model, with the weights given, is trained by AdamW on four rows of 12 tokens, for at most two times
    600 steps, at two rates. Its loss must fall below 0.1 nats. It does not where the output goes through a softmax
    before the loss, where gradients are cut, or where attention carries nothing from token to token: every other token
    can only be told by an earlier one.
    """
    batch = lessons.one_batch(probe)
    learned = learn(probe, lambda: batch, batch, BY_HEART, given=True)
    if not learned.after > BY_HEART:  # NaN is named by run_check
        return passed(learned.after, BY_HEART, f"after {learned.steps} steps")
    cause, diagnosis = _why_not_by_heart(probe, learned, batch)
    case = f"four rows of {batch.inputs.tokens.shape[1]} tokens: from {learned.before:.3g} to {learned.after:.3g} nats"
    return failed(cause, learned.after, BY_HEART, case=case, diagnosis=diagnosis, seen=(f"{learned.steps} steps",))


def _why_not_by_heart(probe: Probe, learned: Training, batch: LabelledBatch) -> tuple[str, str]:
    out = probe.logits(batch.inputs)
    if bool((out >= 0).all()) and torch.allclose(out.sum(-1), torch.ones(()), atol=1e-3):
        return (
            "probabilities",
            "The model returns probabilities, and the loss takes another softmax: return the logits.",
        )
    if learned.after > 0.99 * learned.before:
        return "nothing", "It learns nothing at all: gradients do not arrive, or weights in use are not registered."
    if probe.kind == "classifier":
        return "little", "It learns something, but cannot tell four texts apart: does pooling keep what the text says?"
    asked, tokens = batch.targets != IGNORE_INDEX, batch.inputs.tokens
    keys = tokens * tokens.shape[1] + torch.arange(tokens.shape[1])
    alone = _left_to_one_who_knows(keys[asked], batch.targets[asked])
    if learned.after > 0.9 * alone:
        return (
            "reads-one-token",
            f"From the current token and its place alone {alone:.2g} nats are left at best, and the model keeps them: "
            "attention brings nothing from other tokens.",
        )
    return (
        "little",
        "It learns something, but not 48 tokens: gradients may be cut, or activations too large or too small.",
    )


def _left_to_one_who_knows(keys: Tensor, targets: Tensor) -> float:
    """Nats left, at best, to one who predicts from the key alone: the entropy of the target given the key."""
    pairs, count = torch.stack([keys, targets]).unique(dim=1, return_counts=True)
    of_key = torch.stack([count[pairs[0] == key].sum() for key in pairs[0]])
    return float((count * (of_key / count).log()).sum() / count.sum())


def reversing(probe: Probe) -> Outcome:
    """A short training on reversing strings beats the untrained model.

    To turn `abc` into `cba`, each token has to be fetched from another place: an encoder-decoder from its source, a
    causal model from its past. Weights that are never used, positions that do not arrive and attention that sees
    nothing all show here, though every single layer may look right.

    A copy, with the weights given, is trained on random strings of three letters, of four. On fresh strings it must
    lose less than half of ln 4 nats a letter, which is what is left to a model that knows only which letters there are.
    """
    if probe.length(2 * LONG) < 2 * LONG:
        raise DoesNotApply(f"it takes a context of {2 * LONG} tokens")
    letters = unreserved_tokens(probe, LETTERS + 1)

    def lesson(rows: int) -> LabelledBatch:
        strings = letters[torch.randint(LETTERS, (rows, LONG), generator=probe.generator)]
        begin = letters[LETTERS].expand(rows, 1)
        answer = strings.flip(1)
        if probe.kind == "encoder-decoder":
            return LabelledBatch(Inputs(torch.cat([begin, answer[:, :-1]], 1), source=strings), answer)
        return _text(torch.cat([strings, begin, answer], 1), LONG)

    return _task(probe, lesson)


def induction(probe: Probe) -> Outcome:
    """A short training on repeated strings beats the untrained model.

    In `abc abc abc` all after the first three letters can be known by looking back: what followed this letter the last
    time, or what stood three places before. Nothing in the letters themselves tells, so a model that does not attend
    to its past cannot learn it.

    A copy, with the weights given, is trained on random strings of three letters, of four, each three times in a row.
    On fresh strings it must lose less than half of ln 4 nats a letter.
    """
    if probe.length(3 * LONG) < 3 * LONG:
        raise DoesNotApply(f"it takes a context of {3 * LONG} tokens")
    letters = unreserved_tokens(probe, LETTERS)

    def lesson(rows: int) -> LabelledBatch:
        strings = letters[torch.randint(LETTERS, (rows, LONG), generator=probe.generator)]
        return _text(strings.repeat(1, 3), LONG - 1)

    return _task(probe, lesson)


def _text(tokens: Tensor, given: int) -> LabelledBatch:
    """Each next token is to be predicted, but for the first ones, which are chance."""
    targets = tokens[:, 1:].clone()
    targets[:, :given] = IGNORE_INDEX
    return LabelledBatch(Inputs(tokens[:, :-1]), targets)


def _task(probe: Probe, lesson: Callable[[int], LabelledBatch]) -> Outcome:
    exam = lesson(32)
    learned = learn(probe, lambda: lesson(16), exam, BEATEN, given=False)
    if not learned.after > BEATEN:
        return passed(learned.after, BEATEN, f"from {learned.before:.3g} nats, after {learned.steps} steps")
    learned.probe.module.eval()
    logits = learned.probe.logits(exam.inputs)
    places = [
        f"{F.cross_entropy(logits[:, t].float(), exam.targets[:, t]).item():.2g}"
        for t in range(logits.shape[1])
        if exam.targets[0, t] != IGNORE_INDEX
    ]
    known = math.log(LETTERS)
    if learned.after > known + 0.1:
        cause, diagnosis = "nothing", "Not even the letters in use are learned: see learning.one-batch."
    elif learned.after > 0.9 * known:
        cause, diagnosis = (
            "does-not-read",
            "It learns which letters there are, and nothing of their order: attention does not bring tokens from where "
            "they stand, or positions do not reach it.",
        )
    else:
        cause, diagnosis = "learns-little", "It reads some of what it needs, or learns very slowly: see each place's loss."
    return failed(
        cause,
        learned.after,
        BEATEN,
        case=f"from {learned.before:.3g} to {learned.after:.3g} nats; knowing the letters alone gives {known:.3g}",
        diagnosis=diagnosis,
        seen=(f"nats at each predicted place: {', '.join(places)}", f"{learned.steps} steps"),
    )


def dropout(probe: Probe) -> Outcome:
    """Dropout is on in training and off in evaluation.

    Left on in evaluation it makes results worse and random; `F.dropout(x, p)` does so, since its `training` is True
    unless it is told `self.training`, and so does a dropout in a plain Python list, which `model.eval()` does not
    reach. In training every row needs a mask of its own.

    Two forwards in evaluation must be equal. If the model has dropout, the rows of a batch in training, all of the same
    text, must differ.
    """
    clone = probe.clone()
    inputs = probe.inputs(1).map(lambda tensor: tensor.expand(4, *tensor.shape[1:]))
    clone.module.eval()
    noise = _noise(clone, inputs)
    if noise > SAME:
        cause, diagnosis = _why_in_evaluation(clone, inputs)
        case = f"two forwards of one text in evaluation differ by {noise:.2g} of the logits' spread"
        return failed(cause, noise, SAME, case=case, diagnosis=diagnosis)
    clone.module.train()
    logits = clone.logits(inputs)
    between_rows = float(difference(logits[1:], logits[:1].expand_as(logits[1:])).max())
    between_calls = _noise(clone, inputs)
    declared = _declared(clone.module)
    if between_rows > SAME:
        return passed(noise, SAME, f"in training rows of one text differ by {between_rows:.2g} of the logits' spread")
    if between_calls > SAME:
        return failed(
            "one-mask-for-all-rows",
            between_calls,
            SAME,
            case="in training the same text four times in a batch gives four times the same logits",
            diagnosis="All rows share one dropout mask: draw it in the shape of the whole tensor, batch included.",
        )
    if not declared:
        raise DoesNotApply("the model has no dropout, and nothing random happens in training")
    return failed(
        "never-on",
        float(len(declared)),
        0.0,
        case=f"{declared[0]}, and two forwards in training are equal",
        diagnosis="There is dropout that has no effect: it is not called, or its result is not used, or it is told "
        "training=False.",
    )


def _noise(probe: Probe, inputs: Inputs) -> float:
    return float(difference(probe.logits(inputs), probe.logits(inputs)).max())


def _why_in_evaluation(probe: Probe, inputs: Inputs) -> tuple[str, str]:
    hidden = _in_plain_lists(probe.module)
    for module in hidden:
        module.eval()
    if hidden and _noise(probe, inputs) <= SAME:
        return (
            "not-reached-by-eval",
            f"{type(hidden[0]).__name__} is held in a plain list or dict, where model.eval() does not reach it: use "
            "nn.ModuleList.",
        )
    state = torch.get_rng_state()
    first = probe.logits(inputs)
    torch.set_rng_state(state)
    if float(difference(first, probe.logits(inputs)).max()) <= SAME:
        return (
            "dropout-in-evaluation",
            "PyTorch's random numbers are used in evaluation: write F.dropout(x, p, training=self.training), or use "
            "nn.Dropout; the same holds for added noise and sampling.",
        )
    return (
        "other-in-evaluation",
        "The output changes from call to call, and not by PyTorch's random numbers: see state.",
    )


def _in_plain_lists(model: nn.Module) -> list[nn.Module]:
    known = set(model.modules())
    values = [value for owner in known for value in vars(owner).values()]
    lists = [list(value.values()) if isinstance(value, dict) else value for value in values]
    return [
        item
        for held in lists
        if isinstance(held, list | tuple)
        for item in held
        if isinstance(item, nn.Module) and item not in known
    ]


def _declared(model: nn.Module) -> list[str]:
    """Dropout layers, and numbers called dropout, above 0."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            found.append(f"{path or 'the model'} is {type(module).__name__}(p={module.p})")
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float) and 0 < value < 1:
                found.append(f"{path or 'the model'}.{name} is {value}")
    return found
