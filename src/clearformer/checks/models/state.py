"""What a model stores: all of it is saved, the same from the same seed, and unchanged by evaluation."""

import math
import random

import numpy as np
import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.tensors import noise_effect, unregistered_weights, unsaved_tensors
from clearformer.checks.probe.training import random_objective
from clearformer.checks.weights import randomise_weights

TOLERANCE = 1e-4
"""standard deviations of the logits: equal weights gave 0.0, lost state above 0.1"""
WEIGHT_TOLERANCE = 1e-5
"""standard deviations of the weights: equal trainings gave 0.0, unseeded noise 6e-4"""
STEPS, RATE = 3, 0.01
"""of a training that only has to change what training changes"""


def saved(probe: Probe) -> Outcome:
    """A saved model, loaded again, gives the same output.

    Checkpoints are names and tensors. If loading refuses the names, or the loaded model computes something else, all
    that was trained is lost when the process ends.

    The tensors of `state_dict()` are copied, as a file would hold them, and loaded with `strict=True` into a copy of
    the model with other weights.
    """
    sequence = probe.inputs(2)
    before = probe.logits(sequence)
    other = probe.clone()
    randomise_weights(other.module, probe.seed + 1)
    _load(other, _saved_state(probe.module))
    error = _difference(before, other.logits(sequence))
    if not error > TOLERANCE:
        return passed(error, TOLERANCE)
    return failed(
        "loaded-differs",
        error,
        TOLERANCE,
        case=f"after loading, the logits differ by {error:.2g} standard deviations",
        diagnosis="Loading does not restore what was saved: look for names that are changed or skipped, for your own "
        "load_state_dict, and for state that is not in state_dict (see state.complete).",
    )


def complete(probe: Probe) -> Outcome:
    """All that training changes is saved.

    What is not in the `state_dict` is lost when the process ends: weights in plain lists or plain tensors, and running
    statistics in a buffer with `persistent=False` or in an attribute. The reloaded model runs, and is another one.

    A copy is trained for three steps and saved. A second, untrained copy, with new values in every weight that is not
    registered, loads that; both must then give the same output. Masks and tables of positions need not be saved, since
    a new model makes them again.
    """
    sequence = probe.inputs(2)
    trained, other = probe.clone(), probe.clone()
    _train(trained)
    trained.module.eval()
    randomise_weights(other.module, probe.seed + 1)
    weights = unregistered_weights(other.module)
    with torch.no_grad():
        for tensor in weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=probe.generator))
    _load(other, _saved_state(trained.module))
    expected = trained.logits(sequence)
    error = _difference(expected, other.logits(sequence))
    if not error > TOLERANCE:
        return passed(error, TOLERANCE)
    trained_tensors = unsaved_tensors(trained.module)
    lost = [
        name for name, tensor in unsaved_tensors(other.module).items() if _changed(tensor, trained_tensors.get(name))
    ]
    with torch.no_grad():
        for name, tensor in unsaved_tensors(other.module).items():
            if name in lost and name in trained_tensors and tensor.shape == trained_tensors[name].shape:
                tensor.copy_(trained_tensors[name])
    fixed = _difference(expected, other.logits(sequence)) <= TOLERANCE
    case = f"a saved and loaded model differs from the trained one by {error:.2g} standard deviations of the logits"
    if not fixed:
        diagnosis = "The state that is lost is no parameter, buffer or tensor of a module: see state.unchanged."
        return failed("not-in-a-tensor", error, TOLERANCE, case=case, diagnosis=diagnosis)
    buffers = dict(probe.module.named_buffers())
    if any(name in buffers for name in lost):
        cause, diagnosis = (
            "buffer-not-saved",
            "Buffers that training changes are not saved: leave out persistent=False.",
        )
    else:
        cause, diagnosis = "not-registered", "They are not registered, and so not saved: see parameters.registered."
    return failed(cause, error, TOLERANCE, case=f"{case}; it lacks {', '.join(lost[:5])}", diagnosis=diagnosis)


def seeded(probe: Probe) -> Outcome:
    """Two trainings from one seed are the same.

    Otherwise no result can be repeated, and no bug reproduced. Possible causes are a generator that takes its seed from
    the clock, a counter shared by all models, or an order that depends on hashes or addresses.

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
    error = float((first - second).abs().max() / first.std().clamp(min=1e-12))
    if not error > WEIGHT_TOLERANCE:
        return passed(error, WEIGHT_TOLERANCE)
    return failed(
        "unseeded",
        error,
        WEIGHT_TOLERANCE,
        case=f"after {STEPS} steps from one seed, weights differ by {error:.2g} standard deviations",
        diagnosis="Random numbers do not come from the seeded global generators of PyTorch, NumPy and Python, but, "
        "say, from np.random.default_rng() or a new torch.Generator; or a model changes another one's state.",
    )


def unchanged(probe: Probe) -> Outcome:
    """Evaluation changes nothing.

    A model that learns, counts or updates running statistics during evaluation gives results that depend on earlier
    inputs. Statistics should be updated `if self.training`, and a cache should belong to the caller.

    The same sequence is evaluated before and after another one: the logits must be equal, and so must all parameters. A
    buffer may change only if it does not affect the output, such as a step counter.
    """
    sequence, another = probe.inputs(2), probe.inputs(2)
    probe.logits(sequence)  # creates what the model creates at its first call
    originals = {name: (tensor, tensor.clone()) for name, tensor in _all_tensors(probe.module).items()}
    before = probe.logits(sequence)
    probe.logits(another)
    error = _difference(before, probe.logits(sequence))
    after = _all_tensors(probe.module)
    changed = [name for name, (_, values) in originals.items() if _changed(after.get(name), values)]
    parameters = [name for name, _ in probe.module.named_parameters() if name in changed]
    case = f"{', '.join(changed[:5])} changed" if changed else "no tensor of the model changed"
    case += f", and the logits of the same sequence by {error:.2g} standard deviations"
    if parameters:
        diagnosis = "The model changes its own weights in `forward`, in evaluation."
        return failed("weights-change", len(parameters), 0, case=case, diagnosis=diagnosis)
    used = [name for name in changed if name in after and _affects_output(probe, after[name], sequence)]
    if used:
        diagnosis = "Values that affect the output are updated in evaluation: do so only `if self.training`."
        return failed("statistics-change", len(used), 0, case=case, diagnosis=diagnosis)
    if error > TOLERANCE:
        diagnosis = (
            "The output depends on earlier calls or on random numbers: look for a cache or a counter on the module, or "
            "see learning.dropout."
        )
        return failed("carries-over", error, TOLERANCE, case=case, diagnosis=diagnosis)
    return passed(error, TOLERANCE, *([f"{', '.join(changed[:5])} change, without effect"] if changed else []))


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest difference in standard deviations; NaN, which run_isolated reports, where `a` is not finite."""
    return float(difference(a, b).max()) if a.isfinite().all() else math.nan


def _saved_state(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the state_dict, as a file would hold it."""
    state = model.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in state.items()}


def _load(probe: Probe, state: dict[str, Tensor]) -> None:
    """Load into the probe's model. Raises ModelCrashed."""
    probe.invoke(lambda model: model.load_state_dict(state, strict=True))


def _train(probe: Probe) -> None:
    """A few steps in training mode; nothing has to be learned."""
    weights = [weight for weight in probe.module.train().parameters() if weight.requires_grad]
    if not weights:
        raise DoesNotApply("the model has no parameters that could be trained")
    for _ in range(STEPS):
        with torch.enable_grad():
            objective = random_objective(probe, probe.inputs(2))
        if not objective.requires_grad:
            raise DoesNotApply("the logits have no gradient: see parameters.gradients")
        objective.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for weight in weights:
            if weight.grad is not None:
                weight.sub_(RATE * weight.grad)
                weight.grad = None


def _all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of a model: parameters, buffers, and unregistered ones."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers()), **unsaved_tensors(model)}


def _changed(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether values differ; tensors of different shapes, such as a growing table of positions, are left out."""
    return a is not None and b is not None and a.shape == b.shape and not torch.equal(a, b)


def _affects_output(probe: Probe, tensor: Tensor, sequence: Inputs) -> bool:
    return tensor.is_floating_point() and noise_effect(probe, tensor, sequence) > TOLERANCE
