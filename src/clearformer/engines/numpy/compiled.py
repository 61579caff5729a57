"""Rules and optimizer updates computed in C, for float32; other inputs fall back to NumPy.

They have the interface of those in NumPy, but three save less: norms and SwiGLU save their argument, and cross-entropy
its gradient.
"""

import ctypes
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE
from clearformer.engines import compiler
from clearformer.engines.numpy import activations, attention, fused, norms, optimizer
from clearformer.engines.numpy.rules import Array, Rule, rows
from clearformer.engines.numpy.threads import in_threads

KERNELS = Path(__file__).with_name("kernels.c")
SHARED = "activations.c", "norm.c", "loss.c", "optimizer.c"
"""files of the C engine"""
SOURCES = [KERNELS, *(KERNELS.parents[1] / "c" / name for name in SHARED)]
SIGNATURES = {
    "gelu": "nppp",
    "swiglu": "nppn",
    "swiglu_backward": "npppn",
    "norm": "nppppnppfi",
    "norm_backward": "npppppppnpi",
    "cross_entropy": "nppppnfn",
    "adamw": "npfff",
}
"""the arguments of each function: n an int64, p a pointer, f a float, i an int"""
TYPES: dict[str, Any] = {"n": ctypes.c_int64, "p": ctypes.c_void_p, "f": ctypes.c_float, "i": ctypes.c_int}
MIN_QUERIES = 8
"""with fewer, kernels.c has no fast product"""


class Task(ctypes.Structure):
    """The struct `task` of kernels.c."""

    _fields_ = tuple((str(index), TYPES[letter]) for index, letter in enumerate("nnnnnnnifp"))


class Heads(ctypes.Structure):
    """The struct `heads` of kernels.c."""

    _fields_ = tuple((str(index), TYPES[letter]) for index, letter in enumerate("pnnn"))


class Weights(ctypes.Structure):
    """The struct `update` of transformer.h."""

    _fields_ = tuple((str(index), TYPES[letter]) for index, letter in enumerate("nppppfff"))


Tokens = Float[Array, "*tokens D"]
Halves = Float[Array, "*tokens two_D"]
Vector = Float[Array, " D"]
Found = dict[str, Any]
numpy_update = optimizer.update
"""NumPy's, which `kernels.switch` may replace"""


@functools.cache
def library() -> tuple[ctypes.CDLL, str]:
    """The compiled kernels, and the name of its compiler. Raises EngineError if it cannot be compiled."""
    compiled, compiler_name = compiler.load("kernels", SOURCES)
    for name, letters in SIGNATURES.items():
        function = getattr(compiled, name)
        function.argtypes, function.restype = [TYPES[letter] for letter in letters], None
    for name, arrays in {"attention": 6, "attention_backward": 9}.items():
        getattr(compiled, name).argtypes = [Task, *[Heads] * arrays]
    return compiled, compiler_name


def _pointer(x: NDArray[Any]) -> int:
    assert x.flags.c_contiguous, "C expects contiguous arrays"
    return x.ctypes.data


def _readable(*arrays: Array | None) -> bool:
    """Whether the kernels can read them: aligned float32."""
    return all(x is None or (x.dtype == np.float32 and x.flags.aligned) for x in arrays)


def _call(name: str, arrays: Sequence[NDArray[Any]], *rest: Any) -> None:
    """Call a C function over all rows of `arrays`, in threads."""
    function, places = getattr(library()[0], name), [(_pointer(array), array.strides[0]) for array in arrays]

    def piece(first: int, last: int) -> None:
        function(last - first, *(at + first * step for at, step in places), *rest)

    in_threads(len(arrays[0]), arrays[0].size, piece)


def gelu(x: Tokens) -> tuple[Tokens, Found]:
    if not _readable(x):
        return activations.gelu(x)
    x = np.ascontiguousarray(x)
    out, slope = np.empty_like(x), np.empty_like(x)
    _call("gelu", [y.reshape(-1) for y in (x, out, slope)])
    return out, {"slope": slope}


def swiglu(x: Halves) -> tuple[Tokens, Found]:
    if not _readable(x) or x.shape[-1] % 2:
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
    return _readable(x, *vectors) and all(y is None or y.shape == x.shape[-1:] for y in vectors)


def _norm(x: Tokens, weight: Vector, bias: Vector | None, eps: float, *, centred: bool) -> tuple[Tokens, Found]:
    flat = rows(np.ascontiguousarray(x))
    out, mean, r = np.empty_like(flat), np.empty(len(flat), x.dtype), np.empty(len(flat), x.dtype)
    vectors = [None if y is None else np.ascontiguousarray(y) for y in (weight, bias)]
    places = [None if y is None else _pointer(y) for y in vectors]
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
    function, width = library()[0].norm_backward, x.shape[1]
    flat, scales, dx = rows(np.ascontiguousarray(g)), np.ascontiguousarray(weight), np.empty_like(x)

    def piece(first: int, last: int) -> Array:
        dvectors = np.empty((2, width), x.dtype)
        arrays = [_pointer(array[first:last]) for array in (flat, x, mean, r, dx)]
        function(last - first, *arrays, *map(_pointer, dvectors), width, _pointer(scales), centred)
        return dvectors

    dweight, dbias = np.sum(in_threads(len(x), x.size, piece), 0)
    return dx.reshape(g.shape), dweight, dbias


def cross_entropy(logits: Tokens, targets: NDArray[np.integer[Any]], smoothing: float) -> tuple[Any, Found]:
    V = logits.shape[-1]  # noqa: N806
    answers = np.ascontiguousarray(targets.reshape(-1), np.int64)
    known = targets.shape == logits.shape[:-1] and ((answers == IGNORE) | (answers >= 0) & (answers < V)).all()
    if not (_readable(logits) and known):
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


def attend(
    q: attention.Queries,
    k: attention.Keys,
    v: attention.Keys,
    bias: attention.Bias | None = None,
    *,
    causal: bool,
    mask: attention.Mask | None,
    dropout: float,
    rng: np.random.Generator | None,
) -> tuple[attention.Queries, Found]:
    if not _enough_queries(q, k, v):
        return attention.attention(q, k, v, bias, causal=causal, mask=mask, dropout=dropout, rng=rng)
    out, weights = attention.empty_heads(q.shape, q.dtype), np.empty((*q.shape[:3], k.shape[2]), q.dtype)
    added, keep = attention.masked_bias(mask, bias, q.dtype), attention.dropout_mask(weights.shape, dropout, rng)
    if added is not None:
        added = np.broadcast_to(np.ascontiguousarray(added, q.dtype), weights.shape)
    _in_groups("attention", causal, keep, dropout, q, k, v, added, out, weights)
    return out, {"weights": weights, "keep": keep}


def attend_backward(
    g: attention.Queries,
    q: attention.Queries,
    k: attention.Keys,
    v: attention.Keys,
    out: attention.Queries,
    weights: attention.Weights,
    keep: attention.KeepMask | None,
    dropout: float,
    causal: bool,
) -> tuple[attention.Queries, attention.Keys, attention.Keys]:
    if not _enough_queries(q, k, v):
        return attention.attention_backward(g, q, k, v, out, weights, keep, dropout, causal)
    dq, dk, dv = (attention.empty_heads(x.shape, x.dtype) for x in (q, k, v))
    _in_groups("attention_backward", causal, keep, dropout, q, k, v, out, weights, g, dq, dk, dv)
    return dq, dk, dv


def _enough_queries(q: attention.Queries, k: attention.Keys, v: attention.Keys) -> bool:
    """With few queries the time is spent on reading keys and values, at which NumPy is as fast."""
    return _readable(q, k, v) and q.shape[2] >= MIN_QUERIES


def _in_groups(
    name: str, causal: bool, keep: attention.KeepMask | None, dropout: float, q: Array, k: Array, *others: Array | None
) -> None:
    """Call a C function over the groups of heads that share keys. Raises MemoryError if it cannot allocate."""
    (B, H, T, E), (G, S), function = q.shape, k.shape[1:3], getattr(library()[0], name)  # noqa: N806
    arrays = [x if x is None or x.strides[-1] == x.itemsize else np.ascontiguousarray(x) for x in (q, k, *others)]
    heads = [
        Heads() if x is None else Heads(x.ctypes.data, *(step // x.itemsize for step in x.strides[:3])) for x in arrays
    ]
    rest = H, G, T, S, E, causal, 1 / (1 - dropout), None if keep is None else _pointer(keep)
    if not all(in_threads(B * G, q.size * S, lambda first, last: function(Task(first, last, *rest), *heads))):
        raise MemoryError(
            f"memory for the scores of {T} queries and {S} keys was expected, found none; use a smaller batch"
        )


def update(updates: Sequence[optimizer.Update], rate: float, config: TrainConfig) -> None:
    if not all(_readable(each.w, each.g, each.m, each.v) for each in updates):
        numpy_update(updates, rate, config)
        return
    function, fresh = library()[0].adamw, (1 - config.beta1, 1 - config.beta2, config.epsilon)
    table = [
        Weights(w.size, *map(_pointer, (w, g, m, v)), *_factors(rate, decay, step, config))
        for w, g, m, v, step, decay in updates
    ]

    def piece(first: int, last: int) -> None:
        some = table[first:last]
        function(len(some), (Weights * len(some))(*some), *fresh)

    in_threads(len(updates), sum(each.w.size for each in updates), piece)


def _factors(rate: float, decay: float, step: int, config: TrainConfig) -> tuple[float, float, float]:
    """The factors of weight decay and of bias correction."""
    return 1 - rate * decay, 1 / math.sqrt(1 - config.beta2**step), rate / (1 - config.beta1**step)


RULES: dict[str, Rule] = {
    "gelu": Rule(gelu, {"x": activations.gelu_x}),
    "swiglu": Rule(swiglu, {"x": swiglu_x}),
    "layer_norm": Rule(layer_norm, {"x weight bias": layer_norm_backward}),
    "rms_norm": Rule(rms_norm, {"x weight": rms_norm_backward}),
    "cross_entropy": Rule(cross_entropy, {"logits": cross_entropy_logits}),
    "attention": Rule(attend, {"q k v": attend_backward, "bias": attention.bias_gradient}),
}
