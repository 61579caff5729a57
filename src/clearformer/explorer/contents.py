"""What a page holds of a run: configuration, tokenizer, metrics, and the weights of its model and of checkpoints."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy

from clearformer.config import ClassifierConfig
from clearformer.engines.c.tokenizer import names_of, require_readable
from clearformer.errors import RunError
from clearformer.explorer import grokking
from clearformer.inspection.grokking.runs import can_be_measured
from clearformer.models.initial import count_parameters, initial_weights, parameter_shapes
from clearformer.runs import metrics
from clearformer.runs.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_checkpoint,
    newest_step,
)
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import trained_weights
from clearformer.runs.tensor_files import Shapes

Precision = Literal["single", "half"]
BYTES = {"single": 4, "half": 2}
MAX_HALF = float(np.finfo(np.float16).max)
MAX_LINES = 1000
"""of metrics, evenly chosen"""
STAGES = 12
"""checkpoints of a run that grokked, unless it is said how many: in half precision, a page of 8 MB"""
EARLY = 30
"""steps, added to those of milestones before their logarithm is taken: in the first few little happens"""
EXAMPLES = {
    "dates": "March 14, 2027",
    "reverse": "transformer",
    "copy": "transformer",
    "tinyshakespeare": "To be, or not to be",
    "pydocs": "Return the number of items in the",
    "multi30k": "Ein Hund läuft über eine Wiese.",
    "polarity": "a film of quiet charm that stays with you",
    "ag_news": "Shares rise as oil prices fall",
    "modular": "1 2 =",
}
"""by the name of a corpus: the text that a page begins with"""


@dataclass(frozen=True)
class Contents:
    """A run in a page."""

    about: dict[str, Any]
    """what the page's source folder.mjs reads of an opened folder, too"""
    weights: dict[str, bytes] = field(default_factory=dict)
    """safetensors by name: "trained", the last one, "untrained", or the name of a checkpoint"""


def size(run: RunFolder, checkpoints: int, precision: Precision) -> int:
    """The bytes of the weights that a page would hold."""
    names, precision = _held(run, checkpoints, precision)
    return count_parameters(run.config.model) * BYTES[precision] * len(names)


def contents(run: RunFolder, checkpoints: int = 0, precision: Precision = "single") -> Contents:
    """Read a run, with as many checkpoints, evenly chosen from the untrained model to the trained one.

    Of a run with `modular`, 0 stands for STAGES in half precision. Raises CheckpointError if there is no checkpoint, or
    one is damaged, and RunError if half precision cannot hold a weight or the page does not read the tokenizer.
    """
    require_readable(run.tokenizer)
    shapes = {"model": parameter_shapes(run.config.model)}
    trained = trained_weights(run)
    names, precision = _held(run, checkpoints, precision)
    found = {name: _load(run, name, shapes) for name in names[:-1]} | {"trained": trained}
    about = {
        "name": run.folder.resolve().name,
        "config": _config(run),
        "tokenizer": run.tokenizer.backend.to_str(),
        "target": run.tokenizer.target.backend.to_str() if run.tokenizer.target is not run.tokenizer else "",
        "names": names_of(run.tokenizer),
        "classes": run.classes if isinstance(run.config.model, ClassifierConfig) else [],
        "metrics": _thinned(metrics.read(run.metrics), logarithmic=run.config.modular is not None),
        "grokking": grokking.contents(run) if can_be_measured(run) else None,
        "example": "" if run.config.data else EXAMPLES.get(run.config.dataset, ""),
        "precision": precision,
        "checkpoints": [{"step": each.step, "weights": name} for name, each in found.items()],
    }
    return Contents(about, {name: _bytes(run, each, precision) for name, each in found.items()})


def _held(run: RunFolder, checkpoints: int, precision: Precision) -> tuple[list[str], Precision]:
    """The names of the checkpoints that a page holds, the trained model last, and their precision."""
    if run.config.modular and not checkpoints:
        checkpoints, precision = STAGES, "half"
    return _chosen(run, max(checkpoints, 1)), precision


def _chosen(run: RunFolder, number: int) -> list[str]:
    """Names of so many checkpoints at even distances; of milestones, in the logarithm of their steps."""
    last, milestones = newest_step(run.trained) or 0, _kept(run) == run.milestones
    steps = {path.name: _step(path.name) for path in checkpoint_folders(_kept(run))}
    if milestones or run.config.train.average_checkpoints == 1:
        steps = {name: step for name, step in steps.items() if step < last}  # of the last one is the trained model
    steps = ({} if run.config.start_from else {"untrained": 0}) | steps | {"trained": last}
    places = np.log(EARLY + np.array(list(steps.values()))) if milestones else np.arange(len(steps))
    wanted = np.linspace(places[-1], places[0], number) if number < len(steps) else places
    nearest = np.abs(places - wanted[:, None]).argmin(1).tolist()
    return [list(steps)[place] for place in sorted(set(nearest))]


def _kept(run: RunFolder) -> Path:
    """The folder of the checkpoints to choose among."""
    return run.milestones if run.milestones.exists() else run.checkpoints


def _step(name: str) -> int:
    return int(name.removeprefix("step-"))


def _load(run: RunFolder, name: str, shapes: Mapping[str, Shapes]) -> Checkpoint:
    if name == "untrained":
        return Checkpoint(0, {"model": initial_weights(run.config.model, run.config.train.seed)})
    return load_checkpoint(_kept(run) / name, shapes)


def _config(run: RunFolder) -> Any:
    """The object of config.json, without the paths of the machine that trained the run."""
    return json.loads(dataclasses.replace(run.config, data=(), start_from="").to_json())


def _thinned(lines: Sequence[Mapping[str, Any]], logarithmic: bool) -> list[Mapping[str, Any]]:
    """At most about MAX_LINES, evenly chosen, maybe on a logarithmic scale; and all with a validation loss."""
    spaced = np.geomspace if logarithmic else np.linspace
    kept = set(spaced(1, max(len(lines), 1), MAX_LINES).astype(int).tolist())
    return [line for number, line in enumerate(lines, 1) if number in kept or "validation_loss" in line]


def _bytes(run: RunFolder, checkpoint: Checkpoint, precision: Precision) -> bytes:
    """The weights as safetensors."""
    tensors = {name: np.asarray(tensor) for name, tensor in checkpoint.tensors["model"].items()}
    if precision == "half":
        largest = max(float(np.abs(tensor).max()) for tensor in tensors.values())
        if largest > MAX_HALF:
            raise RunError(
                f"weights of at most {MAX_HALF:.0f} were expected for half precision, found {largest:.0f} in "
                f"{run.folder}; leave out --precision half"
            )
        tensors = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    return safetensors.numpy.save(tensors)
