"""What the suite needs of each engine: models, gradients, updates, generated tokens and, of some, blocks.

Ports take and return arrays, so the suite itself does not depend on any engine.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
import wasm_port
from cases import config_for
from numpy.typing import NDArray

from clearformer.config import AnyModelConfig, Config, EngineName, GPTConfig, ModelConfig, TrainConfig
from clearformer.data.batches import Batch, Batches
from clearformer.engine import open_engine
from clearformer.engines.c import library as c_library
from clearformer.engines.c import training as c_training
from clearformer.engines.numpy import kernels, layers, models, multihead, positions
from clearformer.engines.numpy import training as numpy_training
from clearformer.engines.numpy.tensor import Tensor
from clearformer.engines.tinygrad.adapter import reason_to_skip
from clearformer.errors import EngineError
from clearformer.generation.beam import Beam, beam_search
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.generation.translation import translate
from clearformer.models import parts
from clearformer.models.transformer import _decoder_layer
from clearformer.training.loop import Objective, accumulate_gradients
from clearformer.training.steps import Record

Arrays = dict[str, NDArray[Any]]
Blocks = dict[str, Callable[[ModelConfig], Any]]

NEW_TOKENS, BEAM = 8, Beam(size=3, n_best=2)
"""what `generated` asks for"""


class Port(ABC):
    """One engine."""

    engine: ClassVar[EngineName]
    doubles: ClassVar[bool]
    """whether it supports float64; then `double` converts a model or block"""
    compiles: ClassVar[bool] = False
    """whether each shape is compiled, so that small cases take seconds"""
    is_option: ClassVar[bool] = True
    """whether the command knows it as --engine; if not, it always generates with a cache"""

    @classmethod
    def missing(cls) -> str:
        """Why this machine cannot run the engine; empty if it can."""
        return ""

    def prepare(self) -> None:  # noqa: B027  # optional
        """Called before any computation."""

    def make_model(self, config: AnyModelConfig, weights: Arrays) -> Any:
        """A model with these weights."""
        engine = open_engine(self.engine)
        model = engine.make_model(config_for(config, self.engine))
        engine.load_weights(model, weights)
        return model

    def logits(self, model: Any, inputs: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        return open_engine(self.engine).logits_of(model, inputs)

    @abstractmethod
    def gradients(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        """The mean loss of a batch, and each parameter's gradient."""

    def train(self, model: Any, batches: Batches, config: TrainConfig) -> Iterator[Record]:
        """All updates."""
        engine = open_engine(self.engine)
        return engine.train(model, engine.make_optimizer(model, config), batches, config)

    def weights(self, model: Any) -> Mapping[str, NDArray[Any]]:
        return open_engine(self.engine).weights_of(model)

    def generated(self, model: Any, rows: list[list[int]], *, cached: bool) -> list[Any]:
        """A GPT's continuations of prompts, or an encoder-decoder's targets of sources, greedy and by beam search."""
        if isinstance(model.config, GPTConfig):
            return list(generate(model, rows, NEW_TOKENS, GREEDY, cached=cached))
        beams = beam_search(model, rows, BEAM, cached=cached)
        return [translate(model, rows, cached=cached), [[found.tokens for found in best] for best in beams]]

    def describe(self) -> str:
        """What computes."""
        return open_engine(self.engine).describe(Config(dataset="", model=GPTConfig()))


class BlockPort(Port):
    """An engine whose blocks can be run alone."""

    blocks: ClassVar[Blocks]

    @abstractmethod
    def load(self, block: Any, weights: Arrays) -> None:
        """Set a block's parameters."""

    @abstractmethod
    def run(self, block: Any, inputs: list[NDArray[Any]], g: NDArray[Any] | None) -> tuple[NDArray[Any], Arrays]:
        """A block's output and, given the output's gradient `g`, those of its parameters, `input 0`, `input 1`, …"""


class TorchPort(BlockPort):
    engine, doubles = "torch", True
    blocks: ClassVar[Blocks] = {
        "TokenEmbedding": lambda config: parts.Embedder(config).embedding,
        "SinusoidalPositions": lambda config: parts.ADDED_POSITIONS["sinusoidal"](config.context, config.d_model),
        "LearnedPositions": lambda config: parts.ADDED_POSITIONS["learned"](config.context, config.d_model),
        "NGramEmbedding": lambda config: parts.Embedder(config).ngrams,
        "norm": parts.norm,
        "FeedForward": parts.feed_forward,
        "MultiHeadAttention": lambda config: parts.self_attention(config, causal=False),
        "MultiHeadAttention, causal": lambda config: parts.self_attention(config, causal=True),
        "CrossAttention": parts.cross_attention,
        "EncoderLayer": lambda config: parts.encoder_layer(config, parts.self_attention(config, causal=False)),
        "DecoderLayer": _decoder_layer,
        "OutputProjection": lambda config: parts.output_projection(config, parts.Embedder(config).embedding, bias=True),
    }

    def parameters(self, model: Any) -> Mapping[str, Any]:
        return dict(model.named_parameters())

    def gradients(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        model.zero_grad()
        loss = accumulate_gradients(Objective(model, config), [batch])
        return loss, self._gradients(model)

    def double(self, model: Any) -> Any:
        return model.double()

    def load(self, block: Any, weights: Arrays) -> None:
        with torch.no_grad():
            for name, parameter in block.named_parameters():
                parameter.copy_(torch.from_numpy(weights[name]))

    def run(self, block: Any, inputs: list[NDArray[Any]], g: NDArray[Any] | None) -> tuple[NDArray[Any], Arrays]:
        tensors = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
        out = block(*tensors)
        if g is not None:
            out.backward(torch.from_numpy(g))
        found = {f"input {index}": x.grad.numpy() for index, x in enumerate(tensors) if x.grad is not None}
        return out.detach().numpy(), found | self._gradients(block)

    def _gradients(self, model: Any) -> Arrays:
        return {name: value.grad.numpy() for name, value in model.named_parameters() if value.grad is not None}


class NumPyPort(BlockPort):
    engine, doubles = "numpy", True
    kernels: ClassVar[bool] = False
    blocks: ClassVar[Blocks] = {
        "TokenEmbedding": lambda config: models.Embedder(config).embedding,
        "SinusoidalPositions": lambda config: positions.SinusoidalPositions(config.context, config.d_model),
        "LearnedPositions": lambda config: positions.LearnedPositions(config.context, config.d_model),
        "NGramEmbedding": lambda config: models.Embedder(config).ngrams,
        "norm": lambda config: multihead.norm(config, config.d_model),
        "FeedForward": layers.FeedForward,
        "MultiHeadAttention": lambda config: multihead.MultiHeadAttention(config, causal=False, dropout=0.0),
        "MultiHeadAttention, causal": lambda config: multihead.MultiHeadAttention(config, causal=True, dropout=0.0),
        "CrossAttention": multihead.CrossAttention,
        "EncoderLayer": lambda config: layers.EncoderLayer(config, causal=False, dropout=0.0),
        "DecoderLayer": layers.DecoderLayer,
        "OutputProjection": lambda config: models.OutputProjection(
            config, models.Embedder(config).embedding, bias=True
        ),
    }

    def prepare(self) -> None:
        kernels.switch(self.kernels)

    def gradients(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        loss = numpy_training.accumulate_gradients(model, model.parameters(), [batch], config)
        return loss, self._gradients(model)

    def double(self, model: Any) -> Any:
        return model.to(np.float64)

    def load(self, block: Any, weights: Arrays) -> None:
        numpy_training.load_weights(block, weights)

    def run(self, block: Any, inputs: list[NDArray[Any]], g: NDArray[Any] | None) -> tuple[NDArray[Any], Arrays]:
        given = [Tensor(x, requires_grad=True) if x.dtype.kind == "f" else x for x in inputs]
        out = block(*given)
        if g is not None:
            out.backward(g)
        found = {f"input {index}": x.grad for index, x in enumerate(given) if isinstance(x, Tensor)}
        return out.data, {name: g for name, g in found.items() if g is not None} | self._gradients(block)

    def _gradients(self, model: Any) -> Arrays:
        return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


class CompiledPort(NumPyPort):
    """NumPy with the compiled kernels, which support float32 only."""

    doubles, kernels = False, True

    @classmethod
    def missing(cls) -> str:
        found = kernels.switch(True)
        return found if found.startswith("no ") else ""


class TinygradPort(BlockPort):
    engine, doubles, compiles = "tinygrad", False, True

    @classmethod
    def missing(cls) -> str:
        return reason_to_skip()

    @property
    def blocks(self) -> Blocks:  # type: ignore[override]
        return import_module("tinygrad_port").BLOCKS

    def gradients(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        return import_module("tinygrad_port").gradients(model, batch, config)

    def load(self, block: Any, weights: Arrays) -> None:
        import_module("tinygrad_port").load(block, weights)
        self.names = list(weights)

    def run(self, block: Any, inputs: list[NDArray[Any]], g: NDArray[Any] | None) -> tuple[NDArray[Any], Arrays]:
        return import_module("tinygrad_port").run(block, self.names, inputs, g)


class CPort(Port):
    """Its parts are C functions that share one room, and are compared with PyTorch's as parts of a model."""

    engine, doubles = "c", False

    @classmethod
    def missing(cls) -> str:
        try:
            c_library.library()
        except EngineError as error:
            return str(error)
        return ""

    def gradients(self, model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        loss = c_training.accumulate_gradients(model, [batch], config, seed=0)
        return loss, dict(model.gradients)


class WasmPort(Port):
    """The same C in WebAssembly, called from JavaScript, which has decoding, sampling and training of its own."""

    engine, doubles, is_option = "c", False, False

    @classmethod
    def missing(cls) -> str:
        return wasm_port.missing()

    def make_model(self, config: AnyModelConfig, weights: Arrays) -> wasm_port.Model:
        return wasm_port.Model(config, weights)

    def logits(self, model: wasm_port.Model, inputs: tuple[NDArray[Any], ...]) -> NDArray[Any]:
        return model.logits(inputs)

    def gradients(self, model: wasm_port.Model, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
        return model.gradients(batch, config)

    def train(self, model: wasm_port.Model, batches: Batches, config: TrainConfig) -> Iterator[Record]:
        return model.train(batches, config)

    def weights(self, model: wasm_port.Model) -> Mapping[str, NDArray[Any]]:
        return model.weights()

    def generated(self, model: wasm_port.Model, rows: list[list[int]], *, cached: bool) -> list[Any]:
        assert cached, "there is no decoding without a cache in JavaScript"
        return model.generated(rows, NEW_TOKENS, BEAM)

    def describe(self) -> str:
        return wasm_port.describe()


PORTS: dict[str, type[Port]] = {
    "numpy": NumPyPort,
    "numpy, compiled": CompiledPort,
    "tinygrad": TinygradPort,
    "c": CPort,
    "C in WebAssembly": WasmPort,
}
"""the engines that are compared with PyTorch"""
