"""NumPy as an engine: see `clearformer.engine`."""

import os
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from clearformer.config import Config, TrainConfig
from clearformer.data.batches import Batch
from clearformer.engines.numpy import decoding, kernels, training
from clearformer.engines.numpy.models import Model
from clearformer.engines.numpy.modules import Module
from clearformer.engines.numpy.optimizer import Optimizer
from clearformer.errors import ConfigError
from clearformer.generation.decoding import continue_rows, write_targets
from clearformer.generation.forward import logits_of
from clearformer.models.build import load_weights, weights_of
from clearformer.runs.plan import step_memory
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors

kernels.switch(True)


def make_model(config: Config) -> Model:
    return training.build(config.model, config.train.seed).eval()


def describe(config: Config) -> str:
    """Raises ConfigError for another device than the CPU, and another precision than float32."""
    if config.train.device not in ("auto", "cpu"):
        raise ConfigError(f"NumPy computes on the CPU, but --train.device is {config.train.device}; leave it at auto")
    if config.train.precision == "bfloat16":
        raise ConfigError("NumPy computes in float32, but --train.precision is bfloat16; leave it at auto")
    kept = all(name in os.environ for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"))
    malloc = "malloc keeps memory" if kept else "malloc gives memory back"
    return f"NumPy {np.__version__}, {_products()}, {kernels.describe()}, {malloc}"


def _products() -> str:
    """The library that makes NumPy's matrix products, its kernel, and how many threads it has."""
    found = [
        f"{one['internal_api']} ({one.get('architecture', 'unknown')}, {count} thread{'s' if count > 1 else ''})"
        for one in threadpool_info()
        if one["user_api"] == "blas" and (count := one["num_threads"])
    ]
    return " and ".join(found) or "an unknown BLAS"


def measure_step(model: Model, batch: Batch, config: TrainConfig) -> int:
    """Bytes that a step holds at its height beside 16 a parameter: all that NumPy asks for, less the gradients."""
    parameters = list(model.parameters())
    tracemalloc.start()
    try:
        training.accumulate_gradients(model, parameters, [batch], config)
        height = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return height - sum(parameter.data.nbytes for parameter in parameters)


PORTS: dict[Any, Callable[..., Any]] = {
    load_weights: training.load_weights,
    weights_of: training.weights_of,
    make_optimizer: Optimizer,
    optimizer_tensors: training.optimizer_tensors,
    load_optimizer: training.load_optimizer,
    train: training.train,
    mean_loss: training.mean_loss,
    step_memory: measure_step,
    logits_of: decoding.logits_of,
    continue_rows: decoding.continue_rows,
    write_targets: decoding.TargetDecoder,
}
for generic, function in PORTS.items():
    generic.register(Module, function)
