"""From a configuration to a model with its initial weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights
from clearformer.models.sharded import whole
from clearformer.models.transformer import Transformer

Model = Transformer | GPT | BERT | Classifier

FAMILIES: dict[type[AnyModelConfig], type[Model]] = {
    TransformerConfig: Transformer,
    GPTConfig: GPT,
    BERTConfig: BERT,
    ClassifierConfig: Classifier,
}


def build(config: AnyModelConfig, seed: int) -> Model:
    """A model in training mode, on the CPU, with the initial weights of (config, seed)."""
    model = FAMILIES[type(config)](config)  # type: ignore[arg-type]  # FAMILIES pairs each class with its configuration
    load_weights(model, initial_weights(config, seed))
    return model


def load_weights(model: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into the parameters of the same names; names and shapes must be exactly the same."""
    parameters = dict(model.named_parameters())
    assert parameters.keys() == weights.keys(), f"names differ: {sorted(parameters.keys() ^ weights.keys())}"
    with torch.no_grad():
        for name, parameter in parameters.items():
            assert tuple(parameter.shape) == weights[name].shape, f"{name}: {parameter.shape}, {weights[name].shape}"
            parameter.copy_(torch.from_numpy(weights[name]))


def weights_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """The parameters by name, as arrays; those of a model on the CPU share its memory."""
    return {name: whole(parameter.detach()).cpu().numpy() for name, parameter in model.named_parameters()}
