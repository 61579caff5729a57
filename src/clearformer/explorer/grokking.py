"""What a page shows of a run that learned arithmetic modulo a prime: measures, key frequencies, phases.

They take longer than a page may, 0.2 seconds a checkpoint, and are measured as it is written.
"""

import dataclasses
import math
from typing import Any

from clearformer.data.corpora import EquationCorpus
from clearformer.inspection.grokking.cycles import CYCLIC, cycle
from clearformer.inspection.grokking.history import Weights, history
from clearformer.inspection.grokking.phases import THRESHOLD, phases
from clearformer.models.build import build, load_weights
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs.checkpoint import Checkpoint, checkpoint_folders, load_checkpoint
from clearformer.runs.folder import RunFolder


def grokking(run: RunFolder, trained: Checkpoint) -> dict[str, Any]:
    """Of a run with `modular`: what the page's view Grok reads. Measured are all milestones, from the untrained model
    to the trained one.

    "numbers" are those on the circle, place by place (`cycles`), or all, if the operation has no circle.
    """
    assert run.config.modular is not None
    assert isinstance(run.corpus, EquationCorpus)
    p, operation = run.config.modular.modulus, run.config.modular.operation
    model = build(run.config.model, run.config.train.seed).eval()
    assert isinstance(model, GPT)
    load_weights(model, trained.tensors["model"])
    checkpoints = _checkpoints(run, trained)
    run.notify(f"measuring {len(checkpoints)} checkpoints for the view Grok")
    found = history(model, sorted(checkpoints.items()), run.corpus, operation)
    measures = [_line(dataclasses.asdict(each)) for each in found.measures]
    steps, *losses = (
        [each[name] for each in measures] for name in ("step", "loss", "restricted_loss", "held_out_loss")
    )
    spans = phases(steps, *losses).spans(steps[0], steps[-1])
    return {
        "frequencies": found.frequencies,
        "numbers": cycle(operation, p).first.tolist() if operation in CYCLIC else list(range(p)),
        "measures": measures,
        "phases": [{"name": name, "first": first, "last": last} for name, (first, last) in spans.items()],
        "threshold": THRESHOLD,
    }


def _checkpoints(run: RunFolder, trained: Checkpoint) -> dict[int, Weights]:
    """By step: the untrained model, the milestones, and the trained model."""
    shapes = {"model": parameter_shapes(run.config.model)}
    kept = [load_checkpoint(path, shapes) for path in checkpoint_folders(run.milestones)]
    start = {} if run.config.start_from else {0: initial_weights(run.config.model, run.config.train.seed)}
    return start | {each.step: each.tensors["model"] for each in [*kept, trained]}


def _line(measures: dict[str, Any]) -> dict[str, Any]:
    """With the sum of all squared weights, and without numbers that JSON lacks."""
    squares = sum(measures.pop("squared_weights").values())
    line = measures | {"squared_weights": squares}
    return {name: value if value is None or math.isfinite(value) else None for name, value in line.items()}
