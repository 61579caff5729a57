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
from clearformer.engines.numpy import compiled, optimizer, tensor
from clearformer.engines.numpy.rules import Array, Rule
from clearformer.engines.numpy.threads import threads
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
            words = f"kernels compiled by {compiled.library()[1]} ({threads()} thread{'s' if threads() > 1 else ''})"
            if wrong := disagreements():
                on, words = False, f"no compiled kernels ({compiled.library()[1]} computes {', '.join(wrong)} wrongly)"
        except EngineError as error:
            on, words = False, f"no compiled kernels ({error})"
    tensor.OPERATIONS.update(compiled.RULES if on else PLAIN)
    optimizer.move = compiled.move if on else compiled.plain_move
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
    heads = tuple(rng.standard_normal(shape, np.float32) for shape in ((2, 4, 21, 19), (2, 2, 37, 19), (2, 2, 37, 19)))
    causal: dict[str, Any] = {"causal": True, "mask": None, "bias": None, "dropout": 0.0, "rng": None}
    chosen = rng.random((2, 1, 21, 37)) < 0.5, rng.standard_normal((1, 4, 1, 37), np.float32)
    masked = dict(zip(causal, (False, *chosen, 0.3, None), strict=True))
    given: list[tuple[str, tuple[Array, ...], dict[str, Any]]] = [
        ("gelu", (x,), {}),
        ("swiglu", (x,), {}),
        ("layer_norm", (x, weight, bias), {"eps": 1e-5}),
        ("rms_norm", (x, weight), {"eps": 1e-5}),
        ("cross_entropy", (x,), {"targets": targets, "smoothing": 0.1}),
        ("attention", heads, causal),
        ("attention", heads, masked),
    ]
    with np.errstate(all="ignore"):  # what is wrong may be infinite
        pairs = [
            (name, [results(of[name], inputs, options) for of in (PLAIN, compiled.RULES)])
            for name, inputs, options in given
        ]
        pairs += [("move", [moved(move, x) for move in (compiled.plain_move, compiled.move)])]
        return list(dict.fromkeys(name for name, (plain, fast) in pairs if not all(map(agree, plain, fast))))


def results(rule: Rule, inputs: tuple[Array, ...], options: Mapping[str, Any]) -> list[NDArray[Any]]:
    """What a rule computes, and all gradients where that of the result is 1, 2, 3, ..."""
    options = dict(options) | ({"rng": np.random.default_rng(0)} if "rng" in options else {})
    out, found = rule.forward(*inputs, **options)
    g = np.arange(1, out.size + 1, dtype=out.dtype).reshape(out.shape)
    values = options | found | dict(zip(rule.arguments, inputs, strict=True)) | {"shape": inputs[0].shape, "out": out}
    gradients: list[Any] = []
    for names, function, asked in rule.backward:
        found = function(g, **{name: values[name] for name in asked})
        gradients += found if len(names) > 1 else [found]
    return [np.asarray(out), *gradients]


def moved(move: Callable[..., None], x: Array) -> list[Array]:
    """A weight and its averages after a step of AdamW."""
    arrays = x - 1, x / 2, x.copy(), x**2
    move([optimizer.Move(*arrays, step=3, decay=0.1)], 0.1, TrainConfig())
    return list(arrays)


def agree(plain: NDArray[Any], fast: NDArray[Any]) -> bool:
    return bool(np.abs(plain - fast).max() <= TOLERANCE * np.abs(plain).max())
