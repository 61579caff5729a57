"""Compiled kernels, if the machine has a C compiler: `switch` replaces the same formulas in NumPy by them.

They are used only if they compute the same as NumPy, see `disagreements`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE
from clearformer.engines.numpy import compiled, optimizer, tensor
from clearformer.engines.numpy.rules import Array, Rule
from clearformer.engines.numpy.threads import threads
from clearformer.errors import EngineError

NUMPY_RULES: dict[str, Rule] = {name: tensor.OPERATIONS[name] for name in compiled.RULES}
_description = "no compiled kernels"
TOLERANCE = 1e-5
"""relative to the largest number: float32 sums in another order differ by 1e-6, a wrong formula by far more"""


def switch(on: bool) -> str:
    """Use the kernels from here on, or only NumPy; return a description, with the reason if there are no kernels."""
    global _description
    words = "no compiled kernels"
    if on:
        try:
            words = f"kernels compiled by {compiled.library()[1]} ({threads()} thread{'s' if threads() > 1 else ''})"
            if wrong := disagreements():
                on, words = False, f"no compiled kernels ({compiled.library()[1]} computes {', '.join(wrong)} wrongly)"
        except EngineError as error:
            on, words = False, f"no compiled kernels ({error})"
    tensor.OPERATIONS.update(compiled.RULES if on else NUMPY_RULES)
    optimizer.update = compiled.update if on else compiled.numpy_update
    _description = words
    return words


def describe() -> str:
    """The description that `switch` returned last."""
    return _description


def disagreements() -> list[str]:
    """The names of the kernels that differ from NumPy on a few random inputs."""
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape, np.float32) for shape in ((70, 38), 38, 38))
    x[0] *= 50
    targets = np.where(np.arange(70) % 7 == 0, IGNORE, np.arange(70) % 38)
    heads = tuple(rng.standard_normal(shape, np.float32) for shape in ((2, 4, 21, 19), (2, 2, 37, 19), (2, 2, 37, 19)))
    causal: dict[str, Any] = {"causal": True, "mask": None, "dropout": 0.0, "rng": None}
    masked = dict(zip(causal, (False, rng.random((2, 1, 21, 37)) < 0.5, 0.3, None), strict=True))
    added = rng.standard_normal((1, 4, 1, 37), np.float32)
    cases: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("gelu", (x,), {}),
        ("swiglu", (x,), {}),
        ("layer_norm", (x, weight, bias), {"eps": 1e-5}),
        ("rms_norm", (x, weight), {"eps": 1e-5}),
        ("cross_entropy", (x,), {"targets": targets, "smoothing": 0.1}),
        ("attention", heads, causal),
        ("attention", (*heads, added), masked),
    ]
    with np.errstate(all="ignore"):  # a wrong kernel may give infinities
        pairs = [
            (name, [results(of[name], inputs, options) for of in (NUMPY_RULES, compiled.RULES)])
            for name, inputs, options in cases
        ]
        pairs += [("update", [updated(update, x) for update in (compiled.numpy_update, compiled.update)])]
        return list(dict.fromkeys(name for name, (plain, fast) in pairs if not all(map(agree, plain, fast))))


def results(rule: Rule, inputs: tuple[Array, ...], options: Mapping[str, Any]) -> list[NDArray[Any]]:
    """A rule's result, and its gradients for the result's gradient 1, 2, 3, …"""
    options = dict(options) | ({"rng": np.random.default_rng(0)} if "rng" in options else {})
    out, found = rule.forward(*inputs, **options)
    g = np.arange(1, out.size + 1, dtype=out.dtype).reshape(out.shape)
    values = options | found | dict(zip(rule.arguments, inputs, strict=False)) | {"shape": inputs[0].shape, "out": out}
    gradients: list[Any] = []
    for names, function, needed in rule.backward:
        if names[0] in values:  # the last argument may have been left out
            found = function(g, **{name: values[name] for name in needed})
            gradients += found if len(names) > 1 else [found]
    return [np.asarray(out), *gradients]


def updated(update: Callable[..., None], x: Array) -> list[Array]:
    """A weight and its moments after a step of AdamW."""
    arrays = x - 1, x / 2, x.copy(), x**2
    update([optimizer.Update(*arrays, step=3, decay=0.1)], 0.1, TrainConfig())
    return list(arrays)


def agree(plain: NDArray[Any], fast: NDArray[Any]) -> bool:
    return bool(np.abs(plain - fast).max() <= TOLERANCE * np.abs(plain).max())
