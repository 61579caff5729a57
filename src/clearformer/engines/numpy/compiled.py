"""The rules and steps that `kernels.c` computes, for float32; anything else goes to those in NumPy, as before.

They are called, return and keep what those in NumPy do, but for three that keep less: a norm and SwiGLU keep their
argument, and cross-entropy its gradient.
"""

import ctypes
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE
from clearformer.engines.numpy import activations, attention, compiler, fused, norms, optimizer
from clearformer.engines.numpy.rules import Array, Rule, rows

SOURCE = Path(__file__).with_name("kernels.c")
SIGNATURES = {
    "gelu": "npppp",
    "swiglu": "nppn",
    "swiglu_backward": "npppn",
    "norm": "nppppnppfi",
    "norm_backward": "npppppppnpi",
    "softmax": "nnnnnpi",
    "softmax_gradient": "npppn",
    "cross_entropy": "nppppnfn",
    "adamw": "nppppffffff",
}
"""the arguments of each function: n a count, p where an array begins, f a float, i an int"""
TYPES = {"n": ctypes.c_int64, "p": ctypes.c_void_p, "f": ctypes.c_float, "i": ctypes.c_int}
CURVE = np.array(
    [
        activations.BEND * math.sqrt(0.5),
        2 / (1 - activations.LEAST),
        (1 + activations.LEAST) / (1 - activations.LEAST),
        *activations.POLYNOMIALS[np.dtype(np.float32)],
    ],
    np.float32,
)

Tokens = Float[Array, "*tokens D"]
Halves = Float[Array, "*tokens two_D"]
Vector = Float[Array, " D"]
Found = dict[str, Any]
PLAIN: dict[str, Callable[..., None]] = {
    "softmax_": attention.softmax_,
    "softmax_gradient_": attention.softmax_gradient_,
    "move": optimizer.move,
}
"""the steps in NumPy, before `kernels.switch` puts those here in their place"""


@functools.cache
def library() -> tuple[ctypes.CDLL, str]:
    """The functions of `kernels.c`, and what compiled them. Raises EngineError."""
    made, words = compiler.load(SOURCE)
    for name, letters in SIGNATURES.items():
        function = getattr(made, name)
        function.argtypes, function.restype = [TYPES[letter] for letter in letters], None
    return made, words


def _at(x: NDArray[Any]) -> int:
    assert x.flags.c_contiguous, "C steps from one number to the next"
    return x.ctypes.data


def _suit(*arrays: Array | None) -> bool:
    """Whether C can read them."""
    return all(x is None or (x.dtype == np.float32 and x.flags.aligned) for x in arrays)


def _call(name: str, arrays: Sequence[NDArray[Any]], *rest: Any) -> None:
    """A function of C, which goes through all rows of the first arrays."""
    getattr(library()[0], name)(len(arrays[0]), *map(_at, arrays), *rest)


def gelu(x: Tokens) -> tuple[Tokens, Found]:
    if not _suit(x):
        return activations.gelu(x)
    x = np.ascontiguousarray(x)
    out, slope = np.empty_like(x), np.empty_like(x)
    _call("gelu", [y.reshape(-1) for y in (x, out, slope)], _at(CURVE))
    return out, {"slope": slope}


def swiglu(x: Halves) -> tuple[Tokens, Found]:
    if not _suit(x) or x.shape[-1] % 2:
        return activations.swiglu(x)
    F = x.shape[-1] // 2  # noqa: N806
    out = np.empty((*x.shape[:-1], F), x.dtype)
    _call("swiglu", [rows(np.ascontiguousarray(x)), rows(out)], F)
    return out, {"sigma": None}


def swiglu_x(g: Tokens, x: Halves, sigma: Tokens | None) -> Halves:
    if sigma is not None:
        return activations.swiglu_x(g, x, sigma)
    dx = np.empty(x.shape, x.dtype)
    _call("swiglu_backward", [rows(np.ascontiguousarray(y)) for y in (g, x, dx)], g.shape[-1])
    return dx


def layer_norm(x: Tokens, weight: Vector, bias: Vector | None = None, *, eps: float) -> tuple[Tokens, Found]:
    if _fits(x, weight, bias):
        return _norm(x, weight, bias, eps, centred=True)
    out, found = norms.layer_norm(x, weight, bias, eps=eps)
    return out, found | {"mean": None}


def rms_norm(x: Tokens, weight: Vector, *, eps: float) -> tuple[Tokens, Found]:
    if _fits(x, weight):
        return _norm(x, weight, None, eps, centred=False)
    out, found = norms.rms_norm(x, weight, eps=eps)
    return out, found | {"mean": None}


def _fits(x: Tokens, *vectors: Vector | None) -> bool:
    return _suit(x, *vectors) and all(y is None or y.shape == x.shape[-1:] for y in vectors)


def _norm(x: Tokens, weight: Vector, bias: Vector | None, eps: float, *, centred: bool) -> tuple[Tokens, Found]:
    flat = rows(np.ascontiguousarray(x))
    out, mean, r = np.empty_like(flat), np.empty(len(flat), x.dtype), np.empty(len(flat), x.dtype)
    vectors = [None if y is None else np.ascontiguousarray(y) for y in (weight, bias)]
    places = [None if y is None else _at(y) for y in vectors]
    _call("norm", [flat, out, mean, r], flat.shape[1], *places, eps, centred)
    return out.reshape(x.shape), {"y": flat, "r": r, "mean": mean}


def layer_norm_backward(
    g: Tokens, weight: Vector, y: Array, r: Array, mean: Array | None
) -> tuple[Tokens, Vector, Vector]:
    if mean is None:
        return norms.layer_norm_backward(g, weight, y, r)
    return _norm_backward(g, weight, y, r, mean, centred=True)


def rms_norm_backward(g: Tokens, weight: Vector, y: Array, r: Array, mean: Array | None) -> tuple[Tokens, Vector]:
    if mean is None:
        return norms.rms_norm_backward(g, weight, y, r)
    return _norm_backward(g, weight, y, r, mean, centred=False)[:2]


def _norm_backward(
    g: Tokens, weight: Vector, x: Float[Array, "N D"], r: Float[Array, " N"], mean: Float[Array, " N"], *, centred: bool
) -> tuple[Tokens, Vector, Vector]:
    dx, width = np.empty_like(x), x.shape[1]
    dweight, dbias = np.empty((2, width), x.dtype)
    arrays, vector = [rows(np.ascontiguousarray(g)), x, mean, r, dx, dweight, dbias], np.ascontiguousarray(weight)
    _call("norm_backward", arrays, width, _at(vector), centred)
    return dx.reshape(g.shape), dweight, dbias


def cross_entropy(logits: Tokens, targets: NDArray[np.integer[Any]], smoothing: float) -> tuple[Any, Found]:
    V = logits.shape[-1]  # noqa: N806
    answers = np.ascontiguousarray(targets.reshape(-1), np.int64)
    known = targets.shape == logits.shape[:-1] and ((answers == IGNORE) | (answers >= 0) & (answers < V)).all()
    if not (_suit(logits) and known):
        return fused.cross_entropy(logits, targets, smoothing)
    z = rows(np.ascontiguousarray(logits))
    p, losses = np.empty_like(z), np.empty(len(z), z.dtype)
    _call("cross_entropy", [z, answers, losses, p], V, smoothing, IGNORE)
    return losses.sum(), {"p": p, "predicted": None, "answers": None}


def cross_entropy_logits(
    g: Float[Array, ""], shape: tuple[int, ...], p: Array, predicted: Any, answers: Any, smoothing: float
) -> Tokens:
    if predicted is not None:
        return fused.cross_entropy_logits(g, shape, p, predicted, answers, smoothing)
    p *= g
    return p.reshape(shape)


def softmax_(scores: Float[Array, "B H T S"], *, causal: bool) -> None:
    (B, H, T, S), (far, near, row, one) = scores.shape, scores.strides  # noqa: N806
    head = near if H > 1 else far
    if _suit(scores) and one == scores.itemsize and (far == H * head or B == 1):
        library()[0].softmax(B * H, T, S, head // one, row // one, scores.ctypes.data, causal)
    else:
        PLAIN["softmax_"](scores, causal=causal)


def softmax_gradient_(g: Float[Array, "*rows S"], p: Float[Array, "*rows S"], along: Float[Array, "*rows 1"]) -> None:
    arrays = g, p, along
    if _suit(*arrays) and all(array.flags.c_contiguous for array in arrays):
        _call("softmax_gradient", [rows(array) for array in arrays], g.shape[-1])
    else:
        PLAIN["softmax_gradient_"](*arrays)


def move(w: Array, g: Array, m: Array, v: Array, *, rate: float, decay: float, step: int, config: TrainConfig) -> None:
    arrays = w, g, m, v
    if not _suit(*arrays):
        PLAIN["move"](*arrays, rate=rate, decay=decay, step=step, config=config)
        return
    assert all(array.flags.c_contiguous for array in arrays), "a flat array must be a view"
    shares = 1 - rate * decay, 1 - config.beta1, 1 - config.beta2
    steps = 1 / math.sqrt(1 - config.beta2**step), config.epsilon, rate / (1 - config.beta1**step)
    _call("adamw", [array.reshape(-1) for array in arrays], *shares, *steps)


RULES: dict[str, Rule] = {
    "gelu": Rule(gelu, {"x": activations.gelu_x}),
    "swiglu": Rule(swiglu, {"x": swiglu_x}),
    "layer_norm": Rule(layer_norm, {"x weight bias": layer_norm_backward}),
    "rms_norm": Rule(rms_norm, {"x weight": rms_norm_backward}),
    "cross_entropy": Rule(cross_entropy, {"logits": cross_entropy_logits}),
}
STEPS: dict[str, Callable[..., None]] = {
    "softmax_": softmax_,
    "softmax_gradient_": softmax_gradient_,
    "move": move,
}
"""what attention and AdamW call for part of their work"""
