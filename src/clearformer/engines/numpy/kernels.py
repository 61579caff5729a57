"""Compiled kernels, where the machine has a C compiler: `switch` puts them in the place of the same formulas in NumPy.

They are believed only once they have computed the same as NumPy, see `disagreements`; without them all goes on as it
does.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE
from clearformer.engines.numpy import attention, compiled, optimizer, tensor
from clearformer.engines.numpy.rules import Array, Rule
from clearformer.errors import EngineError

PLAIN: dict[str, Rule] = {name: tensor.OPERATIONS[name] for name in compiled.RULES}
_words = "no compiled kernels"
TOLERANCE = 1e-5
"""of the largest number: float32 summed in another order is off by 1e-6; a wrong formula by far more"""


def switch(on: bool) -> str:
    """Compute by the kernels from here on, or by NumPy alone; says what it will be, and why not the kernels."""
    global _words
    words = "no compiled kernels"
    if on:
        try:
            words = f"kernels compiled by {compiled.library()[1]}"
            if wrong := disagreements():
                on, words = False, f"no compiled kernels ({compiled.library()[1]} computes {', '.join(wrong)} wrongly)"
        except EngineError as error:
            on, words = False, f"no compiled kernels ({error})"
    tensor.OPERATIONS.update(compiled.RULES if on else PLAIN)
    steps = compiled.STEPS if on else compiled.PLAIN
    attention.softmax_, attention.softmax_gradient_ = steps["softmax_"], steps["softmax_gradient_"]
    optimizer.move = steps["move"]
    _words = words
    return words


def describe() -> str:
    """What `switch` said last."""
    return _words


def disagreements() -> list[str]:
    """The names of the kernels that differ from NumPy on a few numbers."""
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape, np.float32) for shape in ((70, 38), 38, 38))
    x[0] *= 50
    targets = np.where(np.arange(70) % 7 == 0, IGNORE, np.arange(70) % 38)
    inputs: dict[str, tuple[tuple[Array, ...], dict[str, Any]]] = {
        "gelu": ((x,), {}),
        "swiglu": ((x,), {}),
        "layer_norm": ((x, weight, bias), {"eps": 1e-5}),
        "rms_norm": ((x, weight), {"eps": 1e-5}),
        "cross_entropy": ((x,), {"targets": targets, "smoothing": 0.1}),
    }
    scores = x.reshape(2, 5, 7, 38).copy()
    scores[0, 0, 0], scores[0, 0, 1, 3:] = -np.inf, -np.inf
    weights = rng.random(scores.shape, np.float32)
    moved = {"rate": 0.1, "decay": 0.1, "step": 3, "config": TrainConfig()}
    steps: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("softmax_", (scores,), {"causal": False}),
        ("softmax_", (scores,), {"causal": True}),
        ("softmax_gradient_", (weights - 1, weights, weights[..., :1].copy()), {}),
        ("move", (weights - 1, weights, weights / 2, weights**2), moved),
    ]
    with np.errstate(all="ignore"):  # what is wrong may be infinite
        pairs = [
            (name, [results(of[name], *given) for of in (PLAIN, compiled.RULES)]) for name, given in inputs.items()
        ]
        pairs += [
            (name, [changed(of[name], arrays, options) for of in (compiled.PLAIN, compiled.STEPS)])
            for name, arrays, options in steps
        ]
        return list(dict.fromkeys(name for name, (plain, fast) in pairs if not all(map(agree, plain, fast))))


def results(rule: Rule, inputs: tuple[Array, ...], options: Mapping[str, Any]) -> list[NDArray[Any]]:
    """What a rule computes, and all gradients where that of the result is 1, 2, 3, ..."""
    out, found = rule.forward(*inputs, **options)
    g = np.arange(1, out.size + 1, dtype=out.dtype).reshape(out.shape)
    values = dict(options) | found | dict(zip(rule.arguments, inputs, strict=True)) | {"shape": inputs[0].shape}
    gradients: list[Any] = []
    for names, function, asked in rule.backward:
        found = function(g, **{name: values[name] for name in asked})
        gradients += found if len(names) > 1 else [found]
    return [np.asarray(out), *gradients]


def changed(step: Callable[..., None], arrays: tuple[Array, ...], options: Mapping[str, Any]) -> list[Array]:
    """The arrays after a step that changes some of them in place."""
    copies = [array.copy() for array in arrays]
    step(*copies, **options)
    return copies


def agree(plain: NDArray[Any], fast: NDArray[Any]) -> bool:
    return bool(np.abs(plain - fast).max() <= TOLERANCE * np.abs(plain).max())
