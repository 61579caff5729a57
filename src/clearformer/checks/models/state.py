"""What a model keeps: saved whole, the same from the same seed, and left alone by evaluation."""

import math
import random

import numpy as np
import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.tensors import unregistered_weights, noise_effect, unsaved_tensors
from clearformer.checks.probe.training import random_objective
from clearformer.checks.weights import randomise_weights

SAME = 1e-4
"""a share of the logits' spread: the same weights gave 0.0, lost state above 0.1"""
SAME_WEIGHTS = 1e-5
"""a share of the weights' size: two equal trainings gave 0.0, with unseeded noise 6e-4"""
TRAINED = 3
"""steps of a training that only has to move what training moves"""


def saved(probe: Probe) -> Outcome:
    """A saved model, loaded again, gives the same output.

    Checkpoints are names and tensors. If loading refuses the names, or the loaded model computes something else, all
    that was trained is lost when the process ends.

    The tensors of `state_dict()` are copied, as a file would, and loaded with `strict=True` into a copy of the model
    whose weights are others.
    """
    text = probe.inputs(2)
    before = probe.logits(text)
    other = probe.clone()
    randomise_weights(other.module, probe.seed + 1)
    _load(other, _saved(probe.module))
    apart = _apart(before, other.logits(text))
    if not apart > SAME:
        return passed(apart, SAME)
    return failed(
        "loaded-differs",
        apart,
        SAME,
        case=f"after loading, the logits differ by {apart:.2g} of their spread",
        diagnosis="Loading does not put back what was saved: look for names that are changed or skipped on the way, for "
        "load_state_dict of your own, and for parts of the state that are not in state_dict (see state.complete).",
    )


def complete(probe: Probe) -> Outcome:
    """All that training changes is saved.

    What is not in the `state_dict` is gone when the process ends: weights in plain lists or plain tensors, and running
    statistics in a buffer with `persistent=False` or in an attribute. The reloaded model runs, and is another one.

    A copy is trained for three steps and saved. A second copy, as it was before them, and with new values in every
    weight that is not registered, loads that; both must then give the same output. Masks and tables of positions need
    not be saved, since a new model makes them again.
    """
    text = probe.inputs(2)
    trained, other = probe.clone(), probe.clone()
    _train(trained)
    trained.module.eval()
    randomise_weights(other.module, probe.seed + 1)
    made = unregistered_weights(other.module)
    with torch.no_grad():
        for tensor in made.values():
            tensor.copy_(torch.randn(tensor.shape, generator=probe.generator))
    _load(other, _saved(trained.module))
    target = trained.logits(text)
    apart = _apart(target, other.logits(text))
    if not apart > SAME:
        return passed(apart, SAME)
    theirs = unsaved_tensors(trained.module)
    lost = [name for name, tensor in unsaved_tensors(other.module).items() if _differs(tensor, theirs.get(name))]
    with torch.no_grad():
        for name, tensor in unsaved_tensors(other.module).items():
            if name in lost and name in theirs and tensor.shape == theirs[name].shape:
                tensor.copy_(theirs[name])
    mended = _apart(target, other.logits(text)) <= SAME
    case = f"a model that was saved and loaded differs from the trained one by {apart:.2g} of the logits' spread"
    if not mended:
        diagnosis = "What changes the output is no parameter, buffer or tensor of a module: see state.unchanged."
        return failed("not-in-a-tensor", apart, SAME, case=case, diagnosis=diagnosis)
    buffers = dict(probe.module.named_buffers())
    if any(name in buffers for name in lost):
        cause, diagnosis = "buffer-not-saved", "Buffers that training changes are not saved: leave out persistent=False."
    else:
        cause, diagnosis = "not-registered", "They are not registered, and so not saved: see parameters.registered."
    return failed(cause, apart, SAME, case=f"{case}; it lacks {', '.join(lost[:5])}", diagnosis=diagnosis)


def seeded(probe: Probe) -> Outcome:
    """Two trainings from one seed are the same.

    Without this no result can be repeated, and no fault be found a second time. Noise from a generator that takes its
    seed from the clock, a counter shared by all models, or an order that depends on hashes or addresses will do it.

    The seeds of PyTorch, NumPy and Python's `random` are set, and two copies are trained on the same three batches.
    """
    states = []
    for _ in range(2):
        torch.manual_seed(probe.seed)
        np.random.seed(probe.seed)
        random.seed(probe.seed)
        clone = probe.clone()
        _train(clone)
        states.append(torch.cat([weight.detach().flatten().double() for weight in clone.module.parameters()]))
    first, second = states
    apart = float((first - second).abs().max() / first.std().clamp(min=1e-12))
    if not apart > SAME_WEIGHTS:
        return passed(apart, SAME_WEIGHTS)
    return failed(
        "unseeded",
        apart,
        SAME_WEIGHTS,
        case=f"after {TRAINED} steps from one seed, weights differ by {apart:.2g} of their deviation",
        diagnosis="Random numbers come from elsewhere than the seeded generators of PyTorch, NumPy and Python, such as "
        "np.random.default_rng() or a torch.Generator of its own; or a model changes another one's state.",
    )


def unchanged(probe: Probe) -> Outcome:
    """Evaluation changes nothing.

    A model that learns, counts or updates running statistics while it is evaluated gives results that depend on what it
    was asked before. Statistics should be updated `if self.training`, and a cache should belong to the caller.

    The same text is evaluated before and after another one: the logits must be equal, and so must all parameters. A
    buffer may change only if it has no part in the output, as a step counter or the rest of a cache.
    """
    text, another = probe.inputs(2), probe.inputs(2)
    probe.logits(text)  # what is made at the first call is made now
    kept = {name: (tensor, tensor.clone()) for name, tensor in _tensors(probe.module).items()}
    before = probe.logits(text)
    probe.logits(another)
    apart = _apart(before, probe.logits(text))
    after = _tensors(probe.module)
    changed = [name for name, (_, values) in kept.items() if _differs(after.get(name), values)]
    parameters = [name for name, _ in probe.module.named_parameters() if name in changed]
    case = f"{', '.join(changed[:5])} changed" if changed else "no tensor of the model changed"
    case += f", and the logits of the same text by {apart:.2g} of their spread"
    if parameters:
        diagnosis = "The model changes its own weights in `forward`, in evaluation."
        return failed("weights-change", len(parameters), 0, case=case, diagnosis=diagnosis)
    used = [name for name in changed if name in after and _matters(probe, after[name], text)]
    if used:
        diagnosis = "Values that take part in the output are updated in evaluation: do so only `if self.training`."
        return failed("statistics-change", len(used), 0, case=case, diagnosis=diagnosis)
    if apart > SAME:
        diagnosis = (
            "The output depends on earlier calls or on chance: a cache that is kept, a counter, or random numbers (see "
            "learning.dropout)."
        )
        return failed("carries-over", apart, SAME, case=case, diagnosis=diagnosis)
    return passed(apart, SAME, *([f"{', '.join(changed[:5])} change, without effect"] if changed else []))


def _apart(a: Tensor, b: Tensor) -> float:
    """How far two outputs are apart; NaN, which the runner reports, where the first is not finite to begin with."""
    return float(difference(a, b).max()) if a.isfinite().all() else math.nan


def _saved(model: nn.Module) -> dict[str, Tensor]:
    """What a file would hold."""
    state = model.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state.items()}


def _load(probe: Probe, state: dict[str, Tensor]) -> None:
    """Into the probe's model. What loading raises is the model's."""
    probe.invoke(lambda model: model.load_state_dict(state, strict=True))


def _train(probe: Probe) -> None:
    """A few steps in training mode, which need not learn anything."""
    weights = [weight for weight in probe.module.train().parameters() if weight.requires_grad]
    if not weights:
        raise DoesNotApply("the model has no parameters that could be trained")
    optimizer = torch.optim.SGD(weights, lr=0.01)
    for _ in range(TRAINED):
        with torch.enable_grad():
            number = random_objective(probe, probe.inputs(2))
        if not number.requires_grad:
            raise DoesNotApply("the logits have no gradient: see parameters.gradients")
        optimizer.zero_grad()
        number.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that a model holds: parameters, buffers, and what is not registered."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **unsaved_tensors(model)}


def _differs(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether values changed; what was made anew in another shape, as a growing cache of positions, is left out."""
    return a is not None and b is not None and a.shape == b.shape and not torch.equal(a, b)


def _matters(probe: Probe, tensor: Tensor, text: Inputs) -> bool:
    return tensor.is_floating_point() and noise_effect(probe, tensor, text) > SAME
