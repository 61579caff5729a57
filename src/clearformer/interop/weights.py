"""Our parameters as tensors of a format, and back: renamed, cut into the parts that the format has, transposed."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clearformer.config import GATED, AnyModelConfig
from clearformer.errors import InteropError
from clearformer.interop.formats import Format
from clearformer.models.initial import parameter_shapes

Array = NDArray[np.float32]
Shape = tuple[int, ...]
ROUNDING = 2.0**-8
"""of constants that are kept in bfloat16, as a share of the largest"""
OLD_NAMES = {"gamma": "weight", "beta": "bias"}
"""of norms, in the files of the first BERTs"""


@dataclass(frozen=True)
class Parameter:
    """One of ours, and the tensors that hold its rows, one after the other, with their shapes."""

    name: str
    shape: Shape
    tensors: Mapping[str, Shape]
    factors: Mapping[str, float]
    """of those tensors of which ours is a multiple"""
    transposed: bool
    absent: bool
    """a bias that the format does not have, so that it is zero"""
    skipped: int = 0
    """rows before ours, in the only tensor, which no token uses"""
    gated: int = 0
    """last rows, which no tensor has: zeros and a bias of one, so that what they compute is 1"""
    stream: int | None = None
    """the axis along which it reads or writes the residual stream, if that has another order there"""

    @property
    def ones(self) -> Array:
        """The last rows that no tensor has."""
        return np.full((self.gated, *self.shape[1:]), float(len(self.shape) == 1), np.float32)


def parameters(format_: Format, config: AnyModelConfig, biased: tuple[str, ...]) -> Iterator[Parameter]:
    """All parameters of a model; `biased` are the ends of the names of modules that have biases in the format."""
    modules = {**format_.modules, **(format_.gated_modules if config.activation in GATED else {})}
    multiples = format_.factors(config)
    for name, shape in parameter_shapes(config).items():
        if name.startswith(format_.untrained):
            continue
        module, _, leaf = name.rpartition(".")
        layer = re.search(r"layers\.(\d+)\.", name)
        named = modules.get(name) or modules[re.sub(r"layers\.\d+\.", "layers.#.", module)]
        end = "" if name in modules else f".{leaf}"
        theirs = [each.replace("#", layer[1] if layer else "") + end for each in _listed(named)]
        transposed = format_.transposed and layer is not None and len(shape) == 2
        skipped = format_.first_position if module == "positions" else 0
        gated = config.d_ff if config.activation in format_.ungated and module.endswith("linear1") else 0
        shapes = [(rows, *shape[1:]) for rows in _rows(config, module, skipped + shape[0] - gated, len(theirs))]
        tensors = {each: part[::-1] if transposed else part for each, part in zip(theirs, shapes, strict=True)}
        tensors |= {each: (1, *tensors[each]) for each in tensors.keys() & format_.optional.keys()}
        absent = leaf == "bias" and not module.endswith((*biased, "norm"))
        stream = _stream_axis(module, len(shape)) if format_.sines_first else None
        factors = {each: multiple for each in theirs for last, multiple in multiples.items() if each.endswith(last)}
        yield Parameter(name, shape, tensors, factors, transposed, absent, skipped, gated, stream)


def _listed(named: str | tuple[str, ...]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else named


def _rows(config: AnyModelConfig, module: str, rows: int, parts: int) -> list[int]:
    """The rows of each part: all, those of the gate and of what it gates, or of queries, keys and values."""
    if parts == 1:
        return [rows]
    keys = config.kv_heads * config.key_width
    if module.endswith("linear1"):
        return [config.d_ff, config.d_ff]
    return [config.num_heads * config.key_width, keys, keys][-parts:]


def _stream_axis(module: str, axes: int) -> int | None:
    """The axis of a parameter along which it reads or writes the residual stream; None for inner biases."""
    if module.endswith(("norm", ".output_projection", ".linear2")):
        return 0
    return 1 if axes == 2 else None


def _alternating(width: int) -> NDArray[np.intp]:
    """For each place of a vector in which sines and cosines alternate, its place where all sines come first."""
    return np.arange(width).reshape(2, -1).T.ravel()


def read_weights(
    format_: Format,
    config: AnyModelConfig,
    biased: tuple[str, ...],
    shapes: Mapping[str, Shape],
    read: Callable[[str], Array],
) -> dict[str, Array]:
    """Our parameters, from tensors of these `shapes`, each of which `read` returns.

    Raises InteropError for a tensor that is missing, has another shape, maps to nothing or is not finite.
    """
    wanted = list(parameters(format_, config, biased))
    needed = {name: shape for each in wanted if not each.absent for name, shape in each.tensors.items()}
    found = {_whole_name(format_, name, needed): name for name in shapes}
    if missing := [name for name in needed if name not in found]:
        raise InteropError(
            f"the tensor {missing[0]} was expected, but is not there{_more(missing)}; save the model anew"
        )
    output, embedding = (f"{format_.modules[name]}.weight" for name in ("output_projection", "embedding"))
    for name in ((output,) if config.tie_embeddings else ()) + format_.copies:
        if (copy := found.pop(name, None)) and not np.array_equal(read(copy), read(found[embedding])):
            raise InteropError(
                f"one matrix was expected in {name} and {embedding}, as config.json ties them, found two; "
                + ("no model of clearformer has that" if format_.copies else "set tie_word_embeddings to false")
            )
    for name, (words, expected) in format_.constants.items():
        if (
            name not in needed
            and (constant := found.pop(name, None))
            and not _is_near(read(constant), expected(shapes[constant]))
        ):
            raise InteropError(f"{words} were expected in {name}, found others; no model of clearformer learns them")
    if extra := [name for name in found if name not in needed and not name.endswith(format_.unused or "\0")]:
        raise InteropError(
            f"tensors of a {format_.architecture} alone were expected, but {found[extra[0]]} maps to nothing"
            f"{_more(extra)}; the model would not be the same without it"
        )
    for name, shape in needed.items():
        if shapes[found[name]] != shape:
            raise InteropError(
                f"the shape {shape} of {name} was expected by config.json, found {shapes[found[name]]}; use the "
                "config.json that belongs to the weights"
            )
    return {each.name: _joined(each, lambda name: read(found[name])) for each in wanted}


def _joined(parameter: Parameter, read: Callable[[str], Array]) -> Array:
    if parameter.absent:
        return np.zeros(parameter.shape, np.float32)
    factors = {name: np.float32(parameter.factors.get(name, 1)) for name in parameter.tensors}
    parts = [(read(name).T if parameter.transposed else read(name)) * factor for name, factor in factors.items()]
    if parameter.gated:
        parts.append(parameter.ones)
    joined = (np.concatenate(parts) if len(parts) > 1 else parts[0])[parameter.skipped :]
    joined = joined[0] if joined.ndim > len(parameter.shape) else joined
    if parameter.stream is not None:
        joined = joined.take(_alternating(joined.shape[parameter.stream]), parameter.stream)
    joined = np.ascontiguousarray(joined)
    if not np.isfinite(joined).all():
        raise InteropError(
            f"finite numbers were expected in {next(iter(parameter.tensors))}, found others; the model is broken"
        )
    return joined


def write_weights(
    format_: Format, config: AnyModelConfig, biased: tuple[str, ...], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """The tensors of the format, of a model with `config`. Biases that the weights lack are zero."""
    tensors = {}
    for each in parameters(format_, config, biased):
        value, first = weights.get(each.name, np.zeros(each.shape, np.float32)), 0
        if each.gated and not np.array_equal(value[-each.gated :], each.ones):
            raise InteropError(
                f"a gate of 1 was expected in {each.name}, as {format_.architecture} has no gates, found others; "
                "export it --to onnx"
            )
        if each.stream is not None:
            value = value.take(np.argsort(_alternating(value.shape[each.stream])), each.stream)
        for name, shape in each.tensors.items():
            end = first + shape[-1 if each.transposed or len(each.shape) == 1 else 0]
            rows = value[first:end] / np.float32(each.factors.get(name, 1))
            tensors[name] = np.ascontiguousarray(rows.T if each.transposed else rows).reshape(shape)
            first = end
    return tensors


def _whole_name(format_: Format, name: str, needed: Mapping[str, Shape]) -> str:
    """With the names of today, and the prefix of the body, which files of the body alone leave out."""
    name = re.sub(r"LayerNorm\.(gamma|beta)$", lambda old: f"LayerNorm.{OLD_NAMES[old[1]]}", name)
    return name if name in needed or name.startswith(format_.body) else _prefixed(format_, name, needed)


def _prefixed(format_: Format, name: str, needed: Mapping[str, Shape]) -> str:
    whole = format_.body + name
    return whole if whole in needed or name.endswith(format_.unused or "\0") else name


def _is_near(found: Array, expected: Array) -> bool:
    """Equal but for the rounding of half precision; zeros are exact."""
    tolerance = ROUNDING * float(np.abs(expected).max(initial=0.0))
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=0, atol=tolerance))


def _more(names: list[str]) -> str:
    return f", nor are {len(names) - 1} more" if len(names) > 1 else ""
