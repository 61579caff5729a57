"""PyTorch as an engine: see `clearformer.engine`."""

from clearformer.config import Config
from clearformer.models.build import Model, build
from clearformer.training.device import choose_device


def make_model(config: Config) -> Model:
    return build(config.model, config.train.seed).to(choose_device(config.train.device)).eval()


def describe(config: Config) -> str:
    return str(choose_device(config.train.device))
