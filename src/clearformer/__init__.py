"""clearformer: a transformer you can see through.

Build one from a configuration, train it, use it, look inside:

    >>> import clearformer
    >>> config = clearformer.GPTConfig(vocab_size=65, context=64, d_model=64, num_heads=4, num_layers=2, d_ff=256)
    >>> model = clearformer.build(config, seed=1)
    >>> sum(weight.numel() for weight in model.parameters())
    108352

Names are loaded when they are first used, so that `import clearformer` takes no time and no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from clearformer.config import Config, CosineSchedule, GPTConfig, PaperSchedule, TrainConfig, TransformerConfig
    from clearformer.data.tokenizers import Tokenizer
    from clearformer.errors import ClearformerError
    from clearformer.generation.decoding import generate
    from clearformer.generation.translation import translate
    from clearformer.inspection.record import record
    from clearformer.models.build import build
    from clearformer.models.gpt import GPT
    from clearformer.models.transformer import Transformer
    from clearformer.recipes import RECIPES
    from clearformer.runs.folder import Run, create_run, open_run
    from clearformer.runs.session import load_model, train_run
    from clearformer.training.loop import train

_HOME = {
    "config": ("Config", "CosineSchedule", "GPTConfig", "PaperSchedule", "TrainConfig", "TransformerConfig"),
    "data.tokenizers": ("Tokenizer",),
    "errors": ("ClearformerError",),
    "generation.decoding": ("generate",),
    "generation.translation": ("translate",),
    "inspection.record": ("record",),
    "models.build": ("build",),
    "models.gpt": ("GPT",),
    "models.transformer": ("Transformer",),
    "recipes": ("RECIPES",),
    "runs.folder": ("Run", "create_run", "open_run"),
    "runs.session": ("load_model", "train_run"),
    "training.loop": ("train",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "GPT",
    "RECIPES",
    "ClearformerError",
    "Config",
    "CosineSchedule",
    "GPTConfig",
    "PaperSchedule",
    "Run",
    "Tokenizer",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "build",
    "create_run",
    "generate",
    "load_model",
    "open_run",
    "record",
    "train",
    "train_run",
    "translate",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'clearformer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"clearformer.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
