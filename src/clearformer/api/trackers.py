"""Training as others show it: the numbers and samples of a run for TensorBoard, or for Weights & Biases."""

import importlib.util
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

from clearformer.api.samples import printed
from clearformer.errors import ClearformerError
from clearformer.runs import metrics
from clearformer.runs.checkpoint import newest_step
from clearformer.runs.folder import RunFolder
from clearformer.runs.samples import Sample
from clearformer.runs.session import Update, is_finished

TrackerName = Literal["tensorboard", "wandb"]
"""also the package that it needs, and the extra that installs it"""
Log = Callable[[Update, list[Sample]], None]


class Tracker(Protocol):
    """Made with a run and the last step that it has done."""

    def log(self, step: int, values: dict[str, float], samples: list[Sample]) -> None:
        """Add the values of a step by their names, and the samples made after it."""

    def close(self) -> None:
        """Write what is still in memory."""


class TensorBoard:
    """Writes RUN/tensorboard; numbers that an interrupted run logged of steps trained again, TensorBoard drops."""

    def __init__(self, run: RunFolder, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=step + 1)
        if step == 0:
            self.writer.add_text("configuration", _code(run.config.to_json()))

    def log(self, step: int, values: dict[str, float], samples: list[Sample]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)
        if samples:
            self.writer.add_text("samples", _code(printed(step, samples)), step)

    def close(self) -> None:
        self.writer.close()


class WandB:
    """Logs into the project clearformer, where wandb is set to, and RUN/wandb; a resumed run goes on in its own place.

    Raises ClearformerError if wandb refuses.
    """

    def __init__(self, run: RunFolder, step: int) -> None:  # noqa: ARG002
        import wandb

        identity = run.folder / "wandb.id"
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex, encoding="utf-8")
        try:
            self.session = wandb.init(
                project="clearformer",
                name=run.folder.resolve().name,
                id=identity.read_text(encoding="utf-8"),
                resume="allow",
                dir=str(run.folder),
                config=json.loads(run.config.to_json()),
            )
        except wandb.Error as error:
            raise ClearformerError(
                f"a place to log to was expected of wandb, but: {error}; type wandb login, or set WANDB_MODE=offline"
            ) from error

    def log(self, step: int, values: dict[str, float], samples: list[Sample]) -> None:
        import wandb

        table = {}
        if samples:
            table["samples"] = wandb.Table(list(samples[0]), [list(sample.values()) for sample in samples])
        # Steps trained again after a crash are the same; wandb keeps what was logged of them first.
        self.session.log({**values, **table}, step=step)

    def close(self) -> None:
        self.session.finish()


TRACKERS: dict[TrackerName, Callable[[RunFolder, int], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB}


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raise ClearformerError, with what to type, if a package is not installed."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder of that name here, such as wandb makes, has no origin
            raise ClearformerError(
                f"the package {name} was expected for --log {name}, but it is not installed; type: "
                f'pip install "clearformer[{name}]"'
            )


@contextmanager
def tracking(run: RunFolder, names: Sequence[TrackerName]) -> Iterator[Log]:
    """Give a function to call with each update and its samples; it logs those steps that metrics.jsonl has."""
    require_trackers(names)
    step = newest_step(run.checkpoints) or 0
    trackers = [] if is_finished(run) else [TRACKERS[name](run, step) for name in names]

    def log(update: Update, samples: list[Sample]) -> None:
        record = update.record
        if update.validation_loss is None and not metrics.is_logged(record.step, run.config.train.log_every):
            return
        values = {
            "loss/training": record.loss,
            "gradient_norm": record.gradient_norm,
            "learning_rate": record.learning_rate,
            "tokens_per_second": record.tokens_per_second,
        }
        if update.validation_loss is not None:
            values["loss/validation"] = update.validation_loss
        for tracker in trackers:
            tracker.log(record.step, values, samples)

    try:
        yield log
    finally:
        for tracker in trackers:
            tracker.close()


def _code(text: str) -> str:
    """As a block of code in Markdown, by its indentation."""
    return "\n".join(f"    {line}" for line in text.splitlines())
