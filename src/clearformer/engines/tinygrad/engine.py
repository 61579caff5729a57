"""The tinygrad engine: see `clearformer.engine`. Importing it starts tinygrad, and raises EngineError if that fails."""

from clearformer.engines.tinygrad.adapter import start

DEVICE = start()  # before the imports below, which import tinygrad

# ruff: noqa: E402
from clearformer.config import Config
from clearformer.engines.support import require_supported
from clearformer.engines.tinygrad.decoding import make_decoder, make_target_decoder
from clearformer.engines.tinygrad.layers import ACTIVATIONS
from clearformer.engines.tinygrad.model import Model, load_weights, logits_of, weights_of
from clearformer.engines.tinygrad.models import FAMILIES
from clearformer.engines.tinygrad.optimizer import load_optimizer, make_optimizer, optimizer_tensors
from clearformer.engines.tinygrad.positions import POSITIONS
from clearformer.engines.tinygrad.training import mean_loss, step_memory, train
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

DEVICES = {"cpu": ("CPU",), "cuda": ("CUDA", "NV"), "mps": ("METAL",)}
"""tinygrad's names of the devices of --train.device"""


def make_model(config: Config) -> Model:
    _require_supported(config)
    return Model(config.model, config.train.seed)


def describe(config: Config) -> str:
    """Raises ConfigError for a device not in use, a precision other than float32 and unsupported settings."""
    _require_supported(config)
    device = config.train.device
    if device != "auto" and DEVICE.partition(":")[0] not in DEVICES[device]:
        raise ConfigError(
            f"tinygrad computes on {DEVICE} here, but --train.device is {device}; leave it at auto, and choose another "
            "device with the environment variable DEV"
        )
    if config.train.precision == "bfloat16":
        raise ConfigError("tinygrad computes in float32, but --train.precision is bfloat16; leave it at auto")
    if config.train.loss_precision != "float32":
        raise ConfigError("tinygrad computes in float32, but --train.loss-precision is float64; set it to float32")
    return f"tinygrad on {DEVICE}"


def _require_supported(config: Config) -> None:
    require_supported("tinygrad", config.model, FAMILIES, activation=ACTIVATIONS, positions=POSITIONS)
