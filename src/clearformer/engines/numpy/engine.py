"""The NumPy engine: see `clearformer.engine`."""

import os
import tracemalloc

import numpy as np
from threadpoolctl import threadpool_info

from clearformer.config import Config, TrainConfig
from clearformer.data.batches import Batch
from clearformer.engines.numpy import kernels
from clearformer.engines.numpy.decoding import logits_of, make_decoder, make_target_decoder
from clearformer.engines.numpy.layers import ACTIVATIONS
from clearformer.engines.numpy.models import FAMILIES, Model
from clearformer.engines.numpy.optimizer import make_optimizer
from clearformer.engines.numpy.positions import POSITIONS
from clearformer.engines.numpy.training import (
    accumulate_gradients,
    build,
    load_optimizer,
    load_weights,
    mean_loss,
    optimizer_tensors,
    train,
    weights_of,
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

kernels.switch(True)


def make_model(config: Config) -> Model:
    _require_supported(config)
    return build(config.model, config.train.seed).eval()


def describe(config: Config) -> str:
    """Raises ConfigError for a device other than the CPU, a precision other than float32 and unsupported settings."""
    _require_supported(config)
    if config.train.device not in ("auto", "cpu"):
        raise ConfigError(f"NumPy computes on the CPU, but --train.device is {config.train.device}; leave it at auto")
    if config.train.precision == "bfloat16":
        raise ConfigError("NumPy computes in float32, but --train.precision is bfloat16; leave it at auto")
    if config.train.loss_precision != "float32":
        raise ConfigError("NumPy computes in float32, but --train.loss-precision is float64; set it to float32")
    keeps_memory = all(name in os.environ for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"))
    malloc = "malloc keeps memory" if keeps_memory else "malloc gives memory back"
    return f"NumPy {np.__version__}, {_blas()}, {kernels.describe()}, {malloc}"


def _require_supported(config: Config) -> None:
    require_supported("numpy", config.model, FAMILIES, activation=ACTIVATIONS, positions=POSITIONS)


def _blas() -> str:
    """NumPy's BLAS library, its architecture and its number of threads."""
    found = [
        f"{one['internal_api']} ({one.get('architecture', 'unknown')}, {count} thread{'s' if count > 1 else ''})"
        for one in threadpool_info()
        if one["user_api"] == "blas" and (count := one["num_threads"])
    ]
    return " and ".join(found) or "an unknown BLAS"


def step_memory(model: Model, batch: Batch, config: TrainConfig) -> int:
    """Peak memory of a step in bytes, without the 16 per parameter: NumPy's allocations less the gradients."""
    parameters = list(model.parameters())
    tracemalloc.start()
    try:
        accumulate_gradients(model, parameters, [batch], config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return peak - sum(parameter.data.nbytes for parameter in parameters)
