"""What a model computes for use, against what it computes in training."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Probe, difference
from clearformer.checks.probe.training import NoDropout, without_dropout
from clearformer.checks.recognise.outputs import extract_logits

LENGTHS = (12, 1, 5)
ROWS = 2
PLACES = {"the first position": 0, "the last position but one": -2}


def paths(probe: Probe) -> Outcome:
    """Each path for inference gives the logits of the forward pass.

    A model often has a shorter path for use: the logits of the last position alone, their softmax, or the likeliest
    token. What is forgotten there, a norm or an index, is not seen in training.

    Sequences of 12, 1 and 5 tokens are given to each such path. What it returns must be the logits of one forward pass,
    at all positions or at the last, or their softmax, its logarithm, or the token with the largest.
    """
    if not probe.subject.paths:
        raise DoesNotApply("it has no other path to its logits")
    worst = 0.0
    for name, path in probe.subject.paths.items():
        for length in LENGTHS:
            inputs = probe.inputs(ROWS, probe.length(length))
            logits, out = probe.logits(inputs), _read(probe.invoke(path, inputs.tokens))
            distances = _distances(out, logits)
            if not distances:
                case = f"{name}: {list(out.shape)} for tokens {list(inputs.tokens.shape)}"
                return failed("shape", 1, 0, case=case, diagnosis=DIAGNOSES["shape"])
            distance = min(distances)
            if distance > TOLERANCE:
                return _explain(name, out, logits, distance)
            worst = max(worst, distance)
    return passed(worst, TOLERANCE)


def mode(probe: Probe) -> Outcome:
    """But for dropout, training mode computes what evaluation does.

    `if self.training` divides a model into two, of which one is trained and the other used. A mask or a scale that is
    in one of them alone, or a BatchNorm, makes them differ.

    The logits of a copy are compared in both modes, with every dropout switched off.
    """
    clone = without_dropout(probe)
    inputs = probe.inputs(ROWS)
    evaluated = clone.logits(inputs)
    clone.module.train()
    with NoDropout(), _watched() as drawn:
        trained, again = clone.logits(inputs), clone.logits(inputs)
    if difference(trained, again).max() > TOLERANCE or drawn:
        raise DoesNotApply("in training mode the model draws random numbers by other means than PyTorch's dropout")
    worst = float(difference(trained, evaluated).max())
    if worst <= TOLERANCE:
        return passed(worst, TOLERANCE)
    has_statistics = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in clone.module.modules())
    cause = "batch-norm" if has_statistics else "other-path"
    positions = (difference(trained, evaluated).reshape(ROWS, -1).amax(0) > TOLERANCE).nonzero().flatten().tolist()
    case = f"the logits differ by {worst:.2g} standard deviations, at positions {positions}"
    return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


@contextmanager
def _watched() -> Iterator[list[str]]:
    """What draws random numbers meanwhile: a path that is seldom left out may be taken twice.

    Python's generator is not compared, since others use it, too, such as beartype.
    """
    drawn: list[str] = []
    before = torch.get_rng_state()

    def watched(function: Callable[..., float]) -> Callable[..., float]:
        def draw(*bounds: float) -> float:
            drawn.append("Python")
            return function(*bounds)

        return draw

    functions = random.random, random.uniform
    random.random, random.uniform = watched(random.random), watched(random.uniform)
    try:
        yield drawn
    finally:
        random.random, random.uniform = functions
    if not torch.equal(before, torch.get_rng_state()):
        drawn.append("PyTorch")


def _read(out: Any) -> Tensor:
    """Logits or token ids. Raises ModelCrashed."""
    return out if isinstance(out, Tensor) else extract_logits(out)


def _distances(out: Tensor, logits: Tensor) -> list[float]:
    """How far an output is from everything that it may be: logits or their softmax, of all positions or the last."""
    expected = [logits, logits[:, -1:], logits[:, -1]]
    if not out.is_floating_point():
        return [float((out != one.argmax(-1)).any()) for one in expected if out.shape == one.shape[:-1]]
    forms = [
        form for one in expected for form in (one, one.log_softmax(-1), one.softmax(-1)) if form.shape == out.shape
    ]
    return [float(difference(out, form).max()) for form in forms]


def _explain(name: str, out: Tensor, logits: Tensor, distance: float) -> Outcome:
    found = "at the last position" if out.shape[:2] != logits.shape[:2] else "at all positions"
    for place, at in PLACES.items():
        if logits.shape[1] > 1 and min(_distances(out, logits[:, at:][:, :1]), default=1.0) <= TOLERANCE:
            case = f"{name}: for {logits.shape[1]} tokens it gives the logits of {place}"
            return failed("other-position", distance, TOLERANCE, case=case, diagnosis=DIAGNOSES["other-position"])
    case = f"{name}: {distance:.2g} standard deviations from one forward pass over {logits.shape[1]} tokens, {found}"
    return failed("other-path", distance, TOLERANCE, case=case, diagnosis=DIAGNOSES["other-path"])


DIAGNOSES = {
    "shape": "This path returns neither one vector for each sequence nor one for each token.",
    "other-position": "This path returns the logits of another position than the last: take [:, -1].",
    "other-path": "The two paths compute something different: compare them line by line, above all masks, scale, final "
    "norm and positions.",
    "batch-norm": "A BatchNorm takes the mean over the batch in training and a running one in evaluation, so that "
    "training sees other rows and padding: use LayerNorm or RMSNorm.",
}
