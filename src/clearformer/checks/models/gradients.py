"""Does every weight get a gradient: all of it, and from its initial values on?"""

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Probe
from clearformer.checks.probe.tensors import noise_effect
from clearformer.checks.probe.training import random_objective
from clearformer.checks.probe.uses import weight_uses
from clearformer.checks.weights import randomise_weights

MIN_EFFECT = 1e-4
"""standard deviations of the logits: a tensor without effect changes them by 0.0"""
NUM_BATCHES = 4
"""a parameter may get its gradient in any of them: not every sequence reaches every expert"""
FIRST_STEPS, FIRST_RATE = 6, 1e-3
"""what begins at zero behind another that does gets its gradient a step later"""


def gradients(probe: Probe) -> Outcome:
    """Every parameter gets a gradient, and every part of it.

    A parameter without one never changes. It was forgotten in `forward`, or something cuts the gradient: `detach()`,
    `.data`, `.item()`, a new tensor made from values, an argmax, `torch.no_grad()`. In a fused projection it may be a
    third that is forgotten, as where the queries are used as keys.

    In training mode a random linear function of the logits is differentiated; each parameter must have a gradient that
    is not zero in one of four batches, and so must each eighth of a matrix, of its rows or its columns, that stands in
    a matrix product. Frozen parameters are reported and excepted, and so are those in Subject(learned_elsewhere=...).
    """
    module = probe.module.train()
    named = dict(module.named_parameters())
    learned: dict[str, Tensor] = {
        name: weight
        for name, weight in named.items()
        if weight.requires_grad and name not in probe.subject.learned_elsewhere
    }
    if not learned:
        raise DoesNotApply("the model has no parameter that requires a gradient")
    found = {name: torch.zeros(weight.shape, dtype=torch.bool) for name, weight in learned.items()}
    for _ in range(NUM_BATCHES):
        with torch.enable_grad():
            out = random_objective(probe, probe.inputs(4))
            if not out.requires_grad:
                diagnosis = (
                    "The output is detached from all weights: look for torch.no_grad(), "
                    "detach(), or NumPy in `forward`."
                )
                return failed(
                    "detached", len(learned), 0, case="the logits have no gradient at all", diagnosis=diagnosis
                )
            gradients = torch.autograd.grad(out, list(learned.values()), allow_unused=True)
        for name, gradient in zip(learned, gradients, strict=True):
            if gradient is None:
                continue
            if not (gradient := gradient.to_dense()).isfinite().all():
                diagnosis = "Gradients are NaN or infinite though the logits are not: a softmax over -inf alone, sqrt "
                return failed("not-finite", 1, 0, case=f"the gradient of {name}", diagnosis=diagnosis + "or log at 0.")
            found[name] |= gradient != 0
    module.eval()
    missing = {name: learned[name] for name, nonzero in found.items() if not nonzero.any()}
    parts = missing or _parts_without_gradient(probe, learned, found)
    if not parts:
        frozen = [name for name, weight in named.items() if not weight.requires_grad]
        return passed(0, 0, *([f"frozen: {list_names(frozen)}"] if frozen else []))
    return _explain_missing(probe, parts, len(learned), "" if missing else "part-")


def _explain_missing(probe: Probe, missing: dict[str, Tensor], total: int, prefix: str) -> Outcome:
    """`missing`: parameters, or parts of them, without a gradient."""
    sequence = probe.inputs(2)
    cut = [name for name, weight in missing.items() if noise_effect(probe, weight, sequence) > MIN_EFFECT]
    cause, names = ("cut-off", cut) if cut else ("unused", list(missing))
    diagnosis = (
        "They affect the output but get no gradient: look for detach(), .data, .item(), torch.tensor(...), argmax or "
        "no_grad() between them and the output."
        if cut
        else "They do not affect the output either: `forward` does not use them, or only beside zeros. Remove them, "
        "use them, or list them in Subject(learned_elsewhere=...)."
    )
    case = f"{len(missing)} of {total} parameters without a gradient{' in a part' if prefix else ''}: "
    return failed(prefix + cause, len(missing), 0, case=case + list_names(names), diagnosis=diagnosis)


def _parts_without_gradient(probe: Probe, learned: dict[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Views of the rows or columns of matrices that never had a gradient, by a name such as `qkv.weight[16:32]`.

    Left out are tables, of which only some rows are read, and rows beyond the vocabulary in an output projection.
    """
    inputs = probe.inputs(2)
    uses, V = weight_uses(probe, inputs), probe.logits(inputs).shape[-1]  # noqa: N806
    read = 2 * inputs.tokens.shape[1] + 1  # of a table of relative positions, of which a shorter input reads fewer
    parts = {}
    for name in uses.multiplied:
        nonzero = found.get(name)
        if nonzero is None or nonzero.dim() != 2 or name in (*uses.looked_up, *uses.indexed):
            continue
        for axis in (0, 1):
            used = nonzero.any(1 - axis)
            start, length = _longest_gap(used)
            if length < max(len(used) / 8, 2) or int(used.sum()) == V:
                continue
            if int(used.sum()) <= read and _grows_with_the_length(probe, learned[name], axis, int(used.sum())):
                continue
            part = f"[{':, ' if axis else ''}{start}:{start + length}]"
            parts[name + part] = learned[name].narrow(axis, start, length)
    return parts


def _grows_with_the_length(probe: Probe, weight: Tensor, axis: int, used: int) -> bool:
    """Whether fewer rows (or columns, with `axis` 1) have a gradient in shorter sequences than the number `used`."""
    found = torch.zeros(weight.shape[axis], dtype=torch.bool)
    for _ in range(NUM_BATCHES):
        with torch.enable_grad():
            out = random_objective(probe, probe.inputs(4, max(probe.length() // 2, 1)))
            (gradient,) = torch.autograd.grad(out, [weight], allow_unused=True)
        if gradient is not None:
            found |= (gradient.to_dense() != 0).any(1 - axis)
    return int(found.sum()) < used


def _longest_gap(used: Tensor) -> tuple[int, int]:
    """The first index and the length of the longest run of False."""
    edges = torch.cat([torch.tensor([True]), used, torch.tensor([True])]).nonzero().flatten()
    gaps = edges.diff() - 1
    return int(edges[int(gaps.argmax())]), int(gaps.max())


def start(probe: Probe) -> Outcome:
    """Every parameter that can learn does so from its initial values on.

    Where two factors of a product both begin at zero, as a gate and what it multiplies, each gives the other a gradient
    of zero, and they stay at zero for ever. One of them may begin at zero.

    A copy with its own initial values takes six steps in training mode; each parameter that gets a gradient with random
    weights must get one in these steps too.
    """
    random = probe.clone()
    randomise_weights(random.module, probe.seed)
    able, moved = _with_gradient(random, 1), _with_gradient(probe.clone(), FIRST_STEPS)
    stuck = [name for name in able if name not in moved]
    if not able:
        raise DoesNotApply("no parameter gets a gradient: see parameters.gradients")
    if not stuck:
        return passed(0, 0, f"{len(able)} parameters")
    return failed(
        "stuck",
        len(stuck),
        0,
        case=f"{len(stuck)} of {len(able)} parameters get no gradient in the first {FIRST_STEPS} steps: "
        f"{list_names(stuck)}",
        diagnosis="With other values they get one, so it is the initial values that stop it: a product of two things "
        "that both begin at zero, an activation that begins where it is flat, or a softmax of very large scores.",
    )


def _with_gradient(probe: Probe, steps: int) -> set[str]:
    """The parameters that get a gradient other than zero in so many steps of a training."""
    named = {name: weight for name, weight in probe.module.train().named_parameters() if weight.requires_grad}
    found: set[str] = set()
    for _ in range(steps):
        with torch.enable_grad():
            out = random_objective(probe, probe.inputs(4))
            if not out.requires_grad:
                raise DoesNotApply("the logits have no gradient: see parameters.gradients")
            gradients = torch.autograd.grad(out, list(named.values()), allow_unused=True)
        for (name, weight), gradient in zip(named.items(), gradients, strict=True):
            if gradient is not None and gradient.to_dense().any():
                found.add(name)
                weight.sub_(FIRST_RATE * gradient.to_dense().sign())
    return found


def list_names(names: list[str]) -> str:
    """The first five names, and the number of others."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
