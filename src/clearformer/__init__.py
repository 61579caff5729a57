"""clearformer: a transformer you can see through.

Train one on data that is built in, and use it; or open a run that was trained before:

    run = clearformer.train("dates", steps=200)
    run = clearformer.open_run("runs/dates")
    run.translate("March 3rd, 1999")

Or build a model from a configuration:

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
    from clearformer.api.compare import compare
    from clearformer.api.run import Run, open_run
    from clearformer.api.training import train
    from clearformer.config import (
        BERTConfig,
        ClassifierConfig,
        Config,
        CosineSchedule,
        GPTConfig,
        LinearSchedule,
        PaperSchedule,
        TrainConfig,
        TransformerConfig,
    )
    from clearformer.data.tokenizers import Tokenizer
    from clearformer.errors import ClearformerError
    from clearformer.inspection.ablate import ablate
    from clearformer.inspection.patch import patch
    from clearformer.inspection.record import record
    from clearformer.models.build import build
    from clearformer.models.gpt import GPT
    from clearformer.models.transformer import Transformer
    from clearformer.recipes import RECIPES

_HOME = {
    "api.compare": ("compare",),
    "api.run": ("Run", "open_run"),
    "api.training": ("train",),
    "config": (
        "BERTConfig",
        "ClassifierConfig",
        "Config",
        "CosineSchedule",
        "GPTConfig",
        "LinearSchedule",
        "PaperSchedule",
        "TrainConfig",
        "TransformerConfig",
    ),
    "data.tokenizers": ("Tokenizer",),
    "errors": ("ClearformerError",),
    "inspection.ablate": ("ablate",),
    "inspection.patch": ("patch",),
    "inspection.record": ("record",),
    "models.build": ("build",),
    "models.gpt": ("GPT",),
    "models.transformer": ("Transformer",),
    "recipes": ("RECIPES",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "GPT",
    "RECIPES",
    "BERTConfig",
    "ClassifierConfig",
    "ClearformerError",
    "Config",
    "CosineSchedule",
    "GPTConfig",
    "LinearSchedule",
    "PaperSchedule",
    "Run",
    "Tokenizer",
    "TrainConfig",
    "Transformer",
    "TransformerConfig",
    "ablate",
    "build",
    "compare",
    "open_run",
    "patch",
    "record",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'clearformer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"clearformer.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
