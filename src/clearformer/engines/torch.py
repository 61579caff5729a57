"""The PyTorch engine, the reference for all others: see `clearformer.engine`."""

from clearformer.config import Config
from clearformer.generation.forward import logits_of
from clearformer.generation.torch_decoder import make_decoder, make_target_decoder
from clearformer.models.build import Model, build, load_weights, weights_of
from clearformer.training.device import choose_device
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import load_optimizer, make_optimizer, optimizer_tensors
from clearformer.training.step_memory import step_memory

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


def describe(config: Config) -> str:
    return str(choose_device(config.train.device))


def make_model(config: Config) -> Model:
    return build(config.model, config.train.seed).to(choose_device(config.train.device)).eval()
