"""Progress display: a live bar in terminals and notebooks, elsewhere a line on standard error every few seconds."""

import html
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from clearformer.training.processes import is_first

if TYPE_CHECKING:
    from clearformer.runs.session import Update

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_UPDATES = 0.2
"""of a notebook's bar: each is a message to the browser"""


def say(message: str) -> None:
    """Print a message to standard error, once among several processes; standard output is for results only."""
    if is_first():
        print(message, file=sys.stderr, flush=True)


def notebook_display() -> Any:
    """Return IPython's `display` in a Jupyter kernel, else None. IPython is never imported for this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return ipython.display.display if ipython is not None and hasattr(shell, "kernel") else None


class Display:
    """A progress bar: `with Display(label, total) as display: display.show(done, details)`."""

    def __init__(self, label: str, total: int) -> None:
        self.label = label
        self.total = total
        self.console = Console(stderr=True, quiet=not is_first())
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f}/{task.total:,.0f}"))
        remaining = (TextColumn("{task.fields[details]}"), TimeRemainingColumn())
        self.bar = Progress(*columns, *remaining, console=self.console, disable=not self.console.is_terminal)
        display = notebook_display()
        self.notebook = display({"text/plain": label}, raw=True, display_id=True) if display else None
        self.task = self.bar.add_task(label, total=total, details="")
        self.started = self.last_line = time.monotonic()
        self.first = self.done = -1

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.stop()

    def show(self, done: int, details: str = "", total: int | None = None) -> None:
        """Update the bar to `done` of `total`, which stays the same by default."""
        self.total = total or self.total
        self.bar.update(self.task, completed=done, total=self.total, details=details)
        now = time.monotonic()
        if self.first < 0 or done < self.done:  # a resumed run does not start at 0; a second pass starts over
            self.first, self.started = done, now
        self.done = done
        if self.console.is_terminal:
            return
        interval = SECONDS_BETWEEN_UPDATES if self.notebook else SECONDS_BETWEEN_LINES
        if done >= self.total or now - self.last_line > interval:
            self.last_line = now
            seconds = (now - self.started) / max(1, done - self.first) * (self.total - done)
            line = f"{self.label} {done:,}/{self.total:,} {details} {seconds:.0f} s left"
            if self.notebook:
                bar = f'<progress value="{done}" max="{self.total}"></progress> {html.escape(line)}'
                self.notebook.update({"text/plain": line, "text/html": bar}, raw=True)
            else:
                self.console.print(line, highlight=False, soft_wrap=True)


class TrainingDetails:
    """The text beside the bar: smoothed loss and speed, and the latest validation loss."""

    def __init__(self) -> None:
        self.loss = self.speed = 0.0
        self.validation = ""
        self.updates = 0

    def __call__(self, update: "Update") -> str:
        self.updates += 1
        weight = max(0.05, 1 / self.updates)  # a mean at first, then a moving average over about twenty steps
        self.loss += weight * (update.record.loss - self.loss)
        self.speed += weight * (update.record.tokens_per_second - self.speed)
        if update.validation_loss is not None:
            self.validation = f"  validation {update.validation_loss:.3f}"
        return f"loss {self.loss:.3f}{self.validation}  {self.speed:,.0f} tokens/s"


class Working:
    """Progress of what goes before training, such as downloads: one bar for each name."""

    def __init__(self) -> None:
        self.name = ""
        self.display: Display | None = None

    def __call__(self, name: str, done: int, size: int) -> None:
        if name != self.name:
            self.close()
            self.name, self.display = name, Display(name, size).__enter__()
        assert self.display is not None
        self.display.show(done)

    def close(self) -> None:
        if self.display is not None:
            self.display.__exit__(None, None, None)
