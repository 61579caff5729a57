"""Is dropout where it should be, and only there?"""

import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.training import DROPOUTS
from clearformer.checks.weights import plain_objects, unregistered_modules

DROPOUT_TOLERANCE = 1e-4
"""standard deviations of the logits: two calls without dropout differ by 0.0, with dropout by more than 1e-2"""
ROWS = 5
"""unlike any usual number of heads, so that the batch is known by its size"""
DRAWS = (torch.rand, torch.rand_like, torch.bernoulli, Tensor.bernoulli, Tensor.bernoulli_, Tensor.uniform_)
"""from which a dropout mask is made by hand"""


def dropout(probe: Probe) -> Outcome:
    """Dropout is on in training and off in evaluation, wherever it was asked for.

    Left on in evaluation it makes results worse and random; `F.dropout(x, p)` does so, since its `training` is True
    unless `self.training` is passed, and so does a dropout layer in a plain Python list, which `model.eval()` does not
    reach. In training every row needs a mask of its own. A layer that was made and is never called does nothing.

    Two calls in evaluation must be equal. If the model has dropout, or its configuration asks for it, equal rows of a
    batch must differ in training; each dropout layer must be called, unless its module drops values in another way;
    and after an evaluation as much must be dropped as before.
    """
    clone = probe.clone()
    inputs = probe.inputs(1).map(lambda tensor: tensor.expand(ROWS, *tensor.shape[1:]))
    before = _heard_in_training(clone, inputs)
    clone.module.eval()
    noise = _call_difference(clone, inputs)
    if noise > DROPOUT_TOLERANCE:
        cause, diagnosis = _explain_randomness(clone, inputs)
        case = f"two calls with one sequence in evaluation differ by {noise:.2g} standard deviations of the logits"
        return failed(cause, noise, DROPOUT_TOLERANCE, case=case, diagnosis=diagnosis)
    after = _heard_in_training(clone, inputs)
    if len(after.drops) < len(before.drops):
        return failed(
            "lost-after-evaluation",
            len(before.drops) - len(after.drops),
            0.0,
            case=f"in training values are dropped {len(before.drops)} times, and after an evaluation "
            f"{len(after.drops)} times",
            diagnosis="An evaluation switches dropout off for ever: let self.training decide at each call.",
        )
    logits = clone.logits(inputs)
    between_rows = float(difference(logits[1:], logits[:1].expand_as(logits[1:])).max())
    between_calls = _call_difference(clone, inputs)
    declared = _declared_dropout(clone.module)
    if between_rows <= DROPOUT_TOLERANCE < between_calls or (after.shared and between_calls > DROPOUT_TOLERANCE):
        case = f"in training {ROWS} equal rows of a batch get equal logits"
        return failed(
            "one-mask-for-all-rows",
            between_calls,
            DROPOUT_TOLERANCE,
            case=f"a mask of shape {after.shared[0]} is drawn for {ROWS} rows" if after.shared else case,
            diagnosis="All rows share one dropout mask: draw it in the shape of the whole tensor, batch included.",
        )
    if between_rows <= DROPOUT_TOLERANCE:
        if not declared:
            raise DoesNotApply("the model has no dropout, and nothing random happens in training")
        return failed(
            "never-on",
            float(len(declared)),
            0.0,
            case=f"{declared[0]}, and two calls in training are equal",
            diagnosis="Dropout has no effect: it is not called, or its result is not used, or it gets training=False.",
        )
    if idle := after.idle(clone.module):
        return failed(
            "never-called",
            len(idle),
            0.0,
            case=f"{idle[0]} drops nothing, while its module is called"
            + (f"; so do {len(idle) - 1} more" * (len(idle) > 1)),
            diagnosis="A dropout layer was made and is not called: call it, or remove it.",
        )
    return passed(
        noise,
        DROPOUT_TOLERANCE,
        f"in training equal rows differ by {between_rows:.2g} standard deviations of the logits",
    )


class _Listener(TorchFunctionMode):
    """Hears which modules are called, and which of them drop values."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.inside: list[str] = []
        self.called: set[str] = set()
        self.drops: list[str] = []
        self.shared: list[list[int]] = []
        """shapes of random masks that have an axis for the tokens, and none for the rows"""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if _drops(func, args, kwargs or {}):
            self.drops.append(self.inside[-1] if self.inside else "")
        if _draws_a_mask(func, args, kwargs or {}) and self.lacks_rows(out):
            self.shared.append(list(out.shape))
        return out

    def lacks_rows(self, mask: Tensor) -> bool:
        return mask.dim() > 1 and mask.shape[-2] == self.length and all(size % ROWS for size in mask.shape[:-2])

    def enter(self, path: str) -> None:
        self.inside.append(path)
        self.called.add(path)

    def leave(self) -> None:
        self.inside.pop()

    def idle(self, model: nn.Module) -> list[str]:
        """Dropout layers that were not called, of modules that were and that dropped nothing by other means."""
        layers = [path for path, module in model.named_modules() if isinstance(module, _DropoutNd) and module.p > 0]
        uncalled = [path for path in layers if path not in self.called]
        return [path for path in uncalled if self._owner(model, path) not in (None, *self.drops)]

    def _owner(self, model: nn.Module, path: str) -> str | None:
        """The nearest module around a layer that is called, and no mere container; None where there is none.

        There is none where a module around the layer was left out this time with all that is in it, as whole layers
        are in training.
        """
        while path:
            path = path.rpartition(".")[0]
            if path in self.called:
                return path
            inside = any(called.startswith(f"{path}.") for called in self.called)
            if path and not inside and any(True for _ in model.get_submodule(path).parameters()):
                return None
        return None


def _drops(func: Any, args: Any, named: dict[str, Any]) -> bool:
    """Whether a call of PyTorch's function sets some values to zero at random."""
    if func is F.scaled_dot_product_attention:
        return float(named.get("dropout_p", args[4] if len(args) > 4 else 0.0)) > 0
    if func not in DROPOUTS:
        return False
    p, training = (named.get(name, args[at] if len(args) > at else default) for at, name, default in FORM)
    return bool(training) and p > 0


def _draws_a_mask(func: Any, args: Any, named: dict[str, Any]) -> bool:
    """Whether a call gives random numbers that do not depend on the input: it drops some of what is all equal, say."""
    if func in DROPOUTS and _drops(func, args, named):
        whole = args[0] if args else named["input"]
        return bool((whole == whole.flatten()[0]).all())
    return func in DRAWS


FORM = ((1, "p", 0.5), (2, "training", True))
"""of the functions in DROPOUTS: where an argument stands, its name and its default"""


def _heard_in_training(probe: Probe, inputs: Inputs) -> _Listener:
    """One forward pass in training mode, listened to. With one seed the same layers are left out, where some are."""
    probe.module.train()
    torch.manual_seed(probe.seed)
    random.seed(probe.seed)
    listener = _Listener(inputs.tokens.shape[1])
    handles = []
    for path, module in probe.module.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: listener.enter(path)))
        handles.append(module.register_forward_hook(lambda *_: listener.leave()))
    try:
        with listener:
            probe.logits(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return listener


def _call_difference(probe: Probe, inputs: Inputs) -> float:
    return float(difference(probe.logits(inputs), probe.logits(inputs)).max())


def _explain_randomness(probe: Probe, inputs: Inputs) -> tuple[str, str]:
    unregistered = unregistered_modules(probe.module)
    for module in unregistered:
        module.eval()
    if unregistered and _call_difference(probe, inputs) <= DROPOUT_TOLERANCE:
        return (
            "not-reached-by-eval",
            f"{type(unregistered[0]).__name__} is held in a plain list, dict or object, where model.eval() does not "
            "reach it: use nn.ModuleList, or make the object a module.",
        )
    state = torch.get_rng_state()
    first = probe.logits(inputs)
    torch.set_rng_state(state)
    if float(difference(first, probe.logits(inputs)).max()) <= DROPOUT_TOLERANCE:
        return (
            "dropout-in-evaluation",
            "PyTorch's random numbers are used in evaluation: write F.dropout(x, p, training=self.training), or use "
            "nn.Dropout; the same holds for added noise and sampling.",
        )
    return (
        "other-in-evaluation",
        "The output changes from call to call, and not by PyTorch's random numbers: see state.",
    )


def _declared_dropout(model: nn.Module) -> list[str]:
    """Descriptions of dropout layers, and of attributes called dropout, of modules and configurations, above 0."""
    found = []
    for path, module in model.named_modules():
        if isinstance(module, _DropoutNd) and module.p > 0:
            found.append(f"{path or 'the model'} is {type(module).__name__}(p={module.p})")
        for holder, attributes in {"": vars(module), **plain_objects(module)}.items():
            for name, value in attributes.items():
                if "drop" in name and isinstance(value, float) and 0 < value < 1:
                    found.append(f"{'.'.join(filter(None, (path or 'the model', holder, name)))} is {value}")
    return found
