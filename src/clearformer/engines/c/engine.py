"""The C engine: see `clearformer.engine`."""

from typing import get_args

from clearformer.config import AnyModelConfig, Config
from clearformer.engines.c.decoding import make_decoder, make_target_decoder
from clearformer.engines.c.library import ACTIVATIONS, POSITIONS, library, threads
from clearformer.engines.c.model import Model, load_weights, logits_of, weights_of
from clearformer.engines.c.training import (
    load_optimizer,
    make_optimizer,
    mean_loss,
    optimizer_tensors,
    step_memory,
    train,
)
from clearformer.engines.support import require_supported
from clearformer.errors import ConfigError

__all__ = [
    "describe",
    "load_optimizer",
    "load_weights",
    "logits_of",
    "make_decoder",
    "make_model",
    "make_optimizer",
    "make_target_decoder",
    "mean_loss",
    "optimizer_tensors",
    "step_memory",
    "train",
    "weights_of",
]


def make_model(config: Config) -> Model:
    """Raises EngineError without a C compiler."""
    _require_supported(config)
    return Model(config.model, config.train.seed)


def describe(config: Config) -> str:
    """Raises ConfigError for a device other than the CPU, a precision other than float32 and unsupported settings."""
    _require_supported(config)
    if config.train.device not in ("auto", "cpu"):
        raise ConfigError(f"C computes on the CPU, but --train.device is {config.train.device}; leave it at auto")
    if config.train.precision == "bfloat16":
        raise ConfigError("C computes in float32, but --train.precision is bfloat16; leave it at auto")
    if config.train.loss_precision != "float32":
        raise ConfigError("C computes in float32, but --train.loss-precision is float64; set it to float32")
    count = threads()
    return f"C, compiled by {library()[1]} ({count} thread{'s' if count > 1 else ''})"


def _require_supported(config: Config) -> None:
    require_supported("c", config.model, get_args(AnyModelConfig), activation=ACTIVATIONS, positions=POSITIONS)
