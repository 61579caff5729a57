"""tinygrad as an engine: see `clearformer.engine`.

Importing it starts tinygrad. Raises EngineError where that cannot be.
"""

from collections.abc import Callable
from typing import Any

from clearformer.engines.tinygrad.adapter import start

DEVICE = start()  # before what follows, which takes tinygrad

# ruff: noqa: E402
from clearformer.config import Config
from clearformer.engines.tinygrad import decoding, model, optimizer, training
from clearformer.engines.tinygrad.model import Model
from clearformer.errors import ConfigError
from clearformer.generation.decoding import continue_rows, write_targets
from clearformer.generation.forward import logits_of
from clearformer.models.build import load_weights, weights_of
from clearformer.runs.plan import step_memory
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors

DEVICES = {"cpu": ("CPU",), "cuda": ("CUDA", "NV"), "mps": ("METAL",)}
"""what tinygrad calls a device that --train.device may name"""


def make_model(config: Config) -> Model:
    return Model(config.model, config.train.seed)


def describe(config: Config) -> str:
    """Raises ConfigError for a device that tinygrad does not use now, and another precision than float32."""
    wanted = config.train.device
    if wanted != "auto" and DEVICE.partition(":")[0] not in DEVICES[wanted]:
        raise ConfigError(
            f"tinygrad computes on {DEVICE} here, but --train.device is {wanted}; leave it at auto, and name another "
            "device by the environment variable DEV"
        )
    if config.train.precision == "bfloat16":
        raise ConfigError("tinygrad computes in float32, but --train.precision is bfloat16; leave it at auto")
    return f"tinygrad on {DEVICE}"


PORTS: dict[Any, Callable[..., Any]] = {
    load_weights: model.load_weights,
    weights_of: model.weights_of,
    make_optimizer: optimizer.Optimizer,
    optimizer_tensors: optimizer.optimizer_tensors,
    load_optimizer: optimizer.load_optimizer,
    train: training.train,
    mean_loss: training.mean_loss,
    step_memory: training.step_memory,
    logits_of: model.logits_of,
    continue_rows: decoding.continue_rows,
    write_targets: decoding.TargetDecoder,
}
for generic, function in PORTS.items():
    generic.register(Model, function)
