"""Settings that an engine may refuse, and its error message."""

import dataclasses
from typing import Any

from clearformer.config import (
    BERTConfig,
    ClassifierConfig,
    Config,
    EngineName,
    GPTConfig,
    TrainConfig,
    TransformerConfig,
)
from clearformer.engine import open_engine
from clearformer.errors import ClearformerError

REFUSALS: dict[str, dict[str, Any]] = {
    "encoder-decoder": {"model": TransformerConfig()},
    "GPT": {"model": GPTConfig()},
    "BERT": {"model": BERTConfig()},
    "classifier": {"model": ClassifierConfig()},
    "AdamW": {"optimizer": "adamw"},
    "Muon": {"optimizer": "muon"},
    "gradient accumulation": {"accumulation": 2},
    "products in bfloat16": {"precision": "bfloat16"},
    "a CUDA device": {"device": "cuda"},
}


def refusal(name: EngineName, setting: str) -> str:
    """The engine's error message for the setting; empty if it supports it."""
    changes = REFUSALS[setting]
    config = Config(dataset="", model=changes.get("model", GPTConfig()), engine=name)
    train = dataclasses.replace(TrainConfig(), **{key: value for key, value in changes.items() if key != "model"})
    try:
        open_engine(name).describe(dataclasses.replace(config, train=train))
    except ClearformerError as error:
        return str(error)
    return ""
