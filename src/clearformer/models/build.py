"""From a configuration to a model with its initial weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights
from clearformer.models.sharded import own_part, whole
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


def build_unfilled(config: AnyModelConfig) -> Model:
    """A model whose parameters take no memory and have no values, on the device "meta"; its buffers have theirs."""

    def unfilled(_module: nn.Module, _name: str, parameter: nn.Parameter) -> Any:
        # a tied one comes twice, and stays one
        return parameter if parameter.is_meta else nn.Parameter(parameter.detach().to("meta"))

    with register_module_parameter_registration_hook(unfilled):
        return FAMILIES[type(config)](config)  # type: ignore[arg-type]  # as in `build`


def load_weights(model: nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into the parameters of the same names; names and shapes must be exactly the same.

    Where several processes hold a part of each parameter, an array is this one's part.
    """
    parameters = dict(model.named_parameters())
    assert parameters.keys() == weights.keys(), f"names differ: {sorted(parameters.keys() ^ weights.keys())}"
    with torch.no_grad():
        for name, parameter in parameters.items():
            own = own_part(parameter)
            assert tuple(own.shape) == weights[name].shape, f"{name}: {own.shape}, {weights[name].shape}"
            own.copy_(torch.from_numpy(weights[name]))


def weights_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """The parameters by name, as arrays; those of a model on the CPU share its memory."""
    return {name: whole(parameter.detach()).cpu().numpy() for name, parameter in model.named_parameters()}
