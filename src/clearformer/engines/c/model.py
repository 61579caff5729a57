"""A model of the C engine: its parameters as arrays, where the C functions read them."""

import ctypes
from collections.abc import Mapping
from ctypes import c_float, c_void_p
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, EngineName, TransformerConfig
from clearformer.engines.c import library as c
from clearformer.errors import PromptError
from clearformer.models.initial import initial_weights

Weights = Mapping[str, NDArray[np.float32]]
Tokens = Int[NDArray[np.int32], "B T"]


class Model:
    """`parameters` and, once it is trained, `gradients` by name."""

    engine: ClassVar[EngineName] = "c"

    def __init__(self, config: AnyModelConfig, seed: int) -> None:
        self.config, self.c_config, self.library = config, c.c_config(config), c.library()[0]
        self.parameters = {name: np.ascontiguousarray(value) for name, value in initial_weights(config, seed).items()}
        self._structs: list[NDArray[np.uint8]] = []
        self.at = self._find(self.parameters)
        self._room: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.touches: list[c.Touch] = []

    @cached_property
    def gradients(self) -> dict[str, NDArray[np.float32]]:
        return {name: np.zeros_like(value) for name, value in self.parameters.items()}

    @cached_property
    def gradients_at(self) -> int:
        """The same struct, of gradients."""
        return self._find(self.gradients)

    def _find(self, arrays: Weights) -> int:
        table = (c.Tensor * len(arrays))(
            *(c.Tensor(name.encode(), *(*x.shape, 0)[:2], x.ctypes.data) for name, x in arrays.items())
        )
        memory, fault = aligned(self.library.model_bytes(self.c_config)), ctypes.create_string_buffer(c.FAULT_SIZE)
        self._structs.append(memory)
        at: int = self.library.find_model(self.c_config, memory.ctypes.data, table, len(table), fault)
        assert not fault.value, fault.value.decode()
        return at

    def room(self, B: int, T: int, S: int = 0, *, keys: int = 0, purpose: int = c.INFERENCE) -> c_void_p:  # noqa: N803
        """Room for B rows of T tokens, and of S of their sources; the next call may reuse it. `keys`: of the cache.

        Raises PromptError for training with touches, or if those are of another number of rows.
        """
        room, sizes = c_void_p(), (B, T, S, keys, purpose)
        size = self.library.make_room(self.at, *sizes, None, None)
        if size > self._room.size:
            self._room = aligned(size)
        self.library.make_room(self.at, *sizes, self._room.ctypes.data, room)
        if self.touches:
            if purpose == c.TRAINING:
                raise PromptError("training was expected without changes, found some; leave the block of `changed`")
            for touch in self.touches:
                if touch.B != B and (touch.B != 1 or touch.action == c.KEEP):
                    raise PromptError(
                        f"{B} rows to keep or put in were expected, as in the batch, found {touch.B}; use as many, or "
                        "put in those of one row"
                    )
            self._table = (c.Touch * len(self.touches))(*self.touches)
            self.library.set_touches(room, self._table, len(self._table))
        return room


def aligned(size: int) -> NDArray[np.uint8]:
    """Bytes that begin at a multiple of 64."""
    memory = np.empty(size + 64, np.uint8)
    return memory[-memory.ctypes.data % 64 :][:size]


def pointer(x: NDArray[Any] | None) -> int | None:
    """Where an array's numbers are; None for no array."""
    assert x is None or x.flags.c_contiguous, "C expects contiguous arrays"
    return None if x is None else x.ctypes.data


def tokens_of(model: Model, tokens: NDArray[Any], past: int = 0) -> Tokens:
    """Tokens as C reads them. Raises PromptError beyond the context or the vocabulary."""
    config, length = model.config, past + tokens.shape[1]
    if length > config.context:
        raise PromptError(
            f"at most {config.context} tokens were expected, the model's context, found {length}; shorten the sequence"
        )
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < config.vocab_size:
        raise PromptError(
            f"tokens from 0 to {config.vocab_size - 1} were expected, found {tokens.min()} to {tokens.max()}; "
            "use the run's own tokenizer"
        )
    return np.ascontiguousarray(tokens, np.int32)


class Inputs:
    """A batch's inputs as C reads them; the arrays stay alive as long as this does."""

    def __init__(self, model: Model, inputs: tuple[NDArray[Any], ...]) -> None:
        self._arrays: list[NDArray[Any] | None] = []
        self.source: c.Batch | None = None
        if isinstance(model.config, TransformerConfig):
            source, target, source_real, target_real = inputs
            self.source = self._batch(model, source, source_real)
            self.batch = self._batch(model, target, target_real)
        else:
            self.batch = self._batch(model, *inputs)
        self.sizes = self.batch.B, self.batch.T, self.source.T if self.source else 0

    def _batch(
        self,
        model: Model,
        tokens: NDArray[Any],
        real: NDArray[Any] | None = None,
        segments: NDArray[Any] | None = None,
    ) -> c.Batch:
        arrays = (
            tokens_of(model, tokens),
            None if segments is None else np.ascontiguousarray(segments, np.int32),
            None if real is None else np.ascontiguousarray(real, np.bool_),
        )
        self._arrays += arrays
        return c.Batch(*tokens.shape, *map(pointer, arrays))


def array_at(pointer: int, *shape: int) -> NDArray[np.float32]:
    """Numbers of C's as an array, not copied."""
    return np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(c_float)), shape)


def encode(model: Model, source: c.Batch) -> Float[NDArray[np.float32], "B S D"]:
    """The encoder's output."""
    room = model.room(source.B, 1, source.T)
    features = model.library.encoder_features(model.at, source, room)
    return array_at(features, source.B, source.T, model.config.d_model).copy()


def project(
    model: Model, features: Float[NDArray[np.float32], "N D"], room: c_void_p
) -> Float[NDArray[np.float32], "N V"]:
    """Logits of features, which are not kept."""
    logits = np.empty((len(features), model.config.vocab_size), np.float32)
    model.library.token_logits(model.at, len(features), pointer(features), pointer(logits), room)
    return logits


def logits_of(model: Model, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
    """Logits for a batch's `inputs`."""
    config, library, given = model.config, model.library, Inputs(model, inputs)
    batch, source, room = given.batch, given.source, model.room(*given.sizes)
    memory = c.Memory()
    if source is not None:
        memory = c.Memory(source.T, library.encoder_features(model.at, source, room), source.real)
    if isinstance(config, BERTConfig) or (isinstance(config, ClassifierConfig) and config.body == "bert"):
        features = library.encoder_features(model.at, batch, room)
    else:
        features = library.decoder_features(model.at, batch, memory, room)
    if isinstance(config, ClassifierConfig):
        logits = np.empty((batch.B, config.num_classes), np.float32)
        library.class_logits(model.at, batch, features, pointer(logits), room)
        return logits
    return project(model, array_at(features, batch.B * batch.T, config.d_model), room).reshape(batch.B, batch.T, -1)


def load_weights(model: Model, weights: Weights) -> None:
    """Copy arrays into the parameters; names and shapes must match exactly."""
    parameters = model.parameters
    assert parameters.keys() == weights.keys(), f"names differ: {sorted(parameters.keys() ^ weights.keys())}"
    for name, parameter in parameters.items():
        assert parameter.shape == weights[name].shape, f"{name}: {parameter.shape}, {weights[name].shape}"
        np.copyto(parameter, weights[name])


def weights_of(model: Model) -> dict[str, NDArray[np.float32]]:
    """The parameters by name, not copied."""
    return dict(model.parameters)
