"""The exceptions a user may meet. Each message says what was expected, what was found and what to do.

The command prints the message without a traceback and exits with `exit_code`: 2 if other arguments would help, 1 if
the machine or a file is to blame.
"""

from typing import ClassVar


def shortened(value: object) -> str:
    """`repr(value)`, cut off after 100 characters to fit into an error message."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


class ClearformerError(Exception):
    """Base class of all errors below."""

    exit_code: ClassVar[int] = 2


class ConfigError(ClearformerError):
    """A recipe, a configuration file or one of its values is invalid.

    `field` is the path of the value in the configuration, such as train.steps, if the message begins with it.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class DataError(ClearformerError):
    """A corpus, a data file or a tokenizer is invalid."""


class DownloadError(DataError):
    """A download failed, or the file is not the one in the catalogue."""

    exit_code = 1


class PromptError(ClearformerError):
    """A prompt or a generation setting is invalid."""


class InteropError(ClearformerError):
    """A foreign model cannot become a run, or a run cannot be written in a foreign format."""


class RunError(ClearformerError):
    """A run's folder is missing, in use, or lacks what the command needs."""


class CheckpointError(ClearformerError):
    """A checkpoint cannot be written, or does not match its run."""

    exit_code = 1


class InspectionError(ClearformerError):
    """A model has no such place, or what is asked of it means nothing for its family."""


class CheckError(ClearformerError):
    """A model cannot be checked as it is: a Subject must describe how to call it."""


class TrainingError(ClearformerError):
    """Training cannot continue: a loss or a gradient is not finite, or another of its processes has ended."""

    exit_code = 1


class EngineError(ClearformerError):
    """A library behind an engine is missing, has the wrong version, or computes wrong results on this machine.

    Another --engine helps.
    """
