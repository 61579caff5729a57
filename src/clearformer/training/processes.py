"""The processes that train one model together: how one of them shares work, and what it knows of the others.

torchrun starts them and numbers them: rank 0, which alone writes, prints and locks, to size - 1. `Processes` is one
process alone; `parallel.py` has several, joined by PyTorch.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np

from clearformer.config import Config, TrainConfig
from clearformer.data.batches import IGNORE, Batch
from clearformer.engine import open_engine
from clearformer.errors import ConfigError


class Processes:
    """One process alone: what all say is what it says."""

    rank = 0
    size = 1

    def sums(self, *numbers: float) -> tuple[float, ...]:
        """Each number, summed over all processes."""
        return numbers

    def largest(self, number: int) -> int:
        """The largest number that a process gives; all wait for each other."""
        return number

    def texts(self, text: str) -> list[str]:
        """The text of each process, by rank."""
        return [text]

    def model_to_load(self, config: Config) -> Any:
        """A model whose weights are loaded once it is distributed."""
        return open_engine(config.engine).make_model(config)

    def distribute(self, model: Any, config: TrainConfig) -> None:
        """From now on `train` and `mean_loss` compute this model's with all processes."""

    def wrap(self, objective: Any, batch: Batch) -> Any:  # noqa: ARG002
        """The same forward pass, whose backward pass averages gradients over all processes; `batch` is to try it on."""
        return objective

    def exchange(self, objective: Any, now: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """A context whose backward pass exchanges gradients, or may leave that to a later one."""
        return nullcontext()

    def of_first(self, number: Callable[[], int]) -> int:
        """What rank 0 computes."""
        return self.largest(number() if self.rank == 0 else 0)

    def require_same(self, what: str, text: str) -> None:
        """Raise ConfigError if the processes do not have the same text."""
        texts = self.texts(text)
        if different := [rank for rank, other in enumerate(texts) if other != texts[0]]:
            raise ConfigError(
                f"the same {what} was expected in all processes, but that of process {different[0]} is not that of "
                f"process 0{_first_difference(texts[0], texts[different[0]])}; type the same line on every machine"
            )


ALONE = Processes()


def processes_of(model: Any) -> Processes:
    """The processes that compute a model together."""
    found: Processes = getattr(model, "processes", ALONE)
    return found


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def may_restart() -> bool:
    """Whether torchrun starts all processes again when one ends before its time."""
    return launched() and os.environ["TORCHELASTIC_MAX_RESTARTS"] != "0"


def is_first() -> bool:
    """Whether this process writes and prints: alone, or with rank 0."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started with this one; without torchrun, this one alone."""
    if not launched() or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    from clearformer.training.parallel import group

    with group() as processes:
        yield processes


def share(batch: Batch, processes: Processes) -> Batch:
    """This process's rows of a batch: every size-th, from its rank on.

    If there are fewer rows than processes, one without any gets a row in which nothing is predicted: gradients are
    exchanged by all or none.
    """
    if processes.size == 1:
        return batch
    rows: Any = slice(processes.rank, None, processes.size)
    idle = processes.rank >= len(batch.targets)
    arrays = {name: array[:1] if idle else array[rows] for name, array in vars(batch).items()}
    if idle:
        arrays["targets"] = np.full_like(arrays["targets"], IGNORE)
    return dataclasses.replace(batch, **arrays)  # type: ignore[type-var]  # all batches are dataclasses of arrays


def _first_difference(one: str, other: str) -> str:
    pairs = zip(one.splitlines(), other.splitlines(), strict=False)
    found = next(((a, b) for a, b in pairs if a != b), None)
    return "" if found is None else ": {} there, {} here".format(*(line.strip(" ,") for line in reversed(found)))
