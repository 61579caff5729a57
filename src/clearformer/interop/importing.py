"""From a folder of Hugging Face's, or a name on its hub, to a run at step 0."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from clearformer.config import FORMAT, IMPORTED, Config, TransformerConfig
from clearformer.errors import InteropError
from clearformer.interop.folder import ForeignFolder, open_foreign
from clearformer.interop.formats import Format, read_settings
from clearformer.interop.numbering import in_our_order
from clearformer.interop.sides import with_sides
from clearformer.interop.tables import format_of
from clearformer.interop.weights import read_weights
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.memory_limit import require_memory
from clearformer.runs.splits import Notify

HUB_NAME = r"[\w.-]+/[\w.-]+"
FURTHER: dict[str, Any] = {
    "steps": 200,
    "schedule": {"kind": "cosine", "peak": 5e-5, "final": 5e-6, "warmup_steps": 20},
    "beta2": 0.95,
    "epsilon": 1e-8,
    "weight_decay": 0.01,
    "validate_every": 50,
}
"""the settings of training that a run begins with which starts from an imported one: small steps, and few"""
MAX_BATCH_TOKENS = 4096


def import_model(source: str | Path, folder: Path, notify: Notify) -> None:
    """Write a run's folder with the model in `source`: a folder, or a name on Hugging Face's hub.

    Raises InteropError, before anything is written, for a model that clearformer cannot compute.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InteropError(f"a new or empty folder was expected, but {folder} is in use; choose another --out")
    foreign = open_foreign(_found(source, notify))
    format_ = format_of(foreign.values)
    learned = {setting: True for name, setting in format_.optional.items() if foreign.has_numbers(name)}
    config = _config(read_settings(format_, foreign.values) | learned)
    require_memory(config)
    tokenizer = foreign.tokenizer(config.model.vocab_size)
    biased = format_.biased(foreign.values)
    weights = read_weights(format_, config.model, biased, foreign.shapes(), foreign.read)
    if isinstance(config.model, TransformerConfig):
        tokenizer, rows = in_our_order(tokenizer, {**format_.defaults, **foreign.values})
        if foreign.has_sides:
            tokenizer = with_sides(tokenizer, foreign.path)
        for name in weights.keys() & {"embedding.weight", "output_projection.weight", "output_projection.bias"}:
            weights[name] = weights[name][rows]
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, vocab_size=len(rows)))
    if format_.untrained:
        weights = initial_weights(config.model, config.train.seed) | weights
        notify(f"a {format_.architecture} has no head: that of the run is untrained, until you train it further")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(folder / "tokenizer.json")
    (folder / "data.json").write_text(json.dumps(_origin(source, foreign, format_), indent=2) + "\n", encoding="utf-8")
    save_checkpoint(folder / "checkpoints", Checkpoint(0, {"model": weights}), keep=1)
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")


def _found(source: str | Path, notify: Notify) -> Path:
    """The folder, downloaded if it is the name of a model on the hub."""
    if Path(source).exists() or not re.fullmatch(HUB_NAME, str(source)):
        return Path(source)
    from huggingface_hub import snapshot_download

    notify(f"{source} is no folder here: asking huggingface.co for it")
    try:
        return Path(snapshot_download(str(source), allow_patterns=["*.json", "*.safetensors", "*.spm"]))
    except Exception as error:  # of the network, of its library and of the hub, which share no class
        reason = str(error).strip().split("\n")[0]
        raise InteropError(
            f"a folder, or a model on huggingface.co, was expected, but {source} is no folder, and: {reason}; download "
            "it where there is a network, and name its folder"
        ) from error


def _config(settings: dict[str, Any]) -> Config:
    context = settings["context"] if isinstance(settings["context"], int) else 0
    train = {**FURTHER, "batch_tokens": max(MAX_BATCH_TOKENS, context)}
    return Config.from_dict(
        {"format": FORMAT, "dataset": IMPORTED, "tokenizer": IMPORTED, "model": settings, "train": train}
    )


def _origin(source: str | Path, foreign: ForeignFolder, format_: Format) -> dict[str, Any]:
    """What data.json says of an imported run."""
    origin = {"name": IMPORTED, "source": str(source), "config": foreign.values}
    return origin | ({"headless": True} if format_.untrained else {})
