"""What can go wrong in a user's hands, each said in one sentence: what was expected, what was found, what to do.

The command prints the sentence without a traceback and leaves with `exit_code`: 2 where the user can type something
else, 1 where the machine or a file is to blame.
"""

from typing import ClassVar


def shortened(value: object) -> str:
    """What was found, as it is written in Python, cut to what a sentence has room for."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


class ClearformerError(Exception):
    """The root: catch this to catch all of them."""

    exit_code: ClassVar[int] = 2


class ConfigError(ClearformerError):
    """A recipe, a configuration file or a value in it is not what it should be.

    `field` is the path of that value in the configuration, such as train.steps, where the sentence begins with it.
    """

    def __init__(self, sentence: str, field: str = "") -> None:
        super().__init__(sentence)
        self.field = field


class DataError(ClearformerError):
    """A corpus, a file of the user's or a tokenizer cannot be used as it is."""


class DownloadError(DataError):
    """A named download failed, or what came is not what was promised."""

    exit_code = 1


class PromptError(ClearformerError):
    """A prompt or a setting of generation cannot be followed."""


class RunError(ClearformerError):
    """A run's folder is missing, in use, or not what the command needs."""


class CheckpointError(ClearformerError):
    """A checkpoint cannot be written, or is not what its run promises."""

    exit_code = 1


class CheckError(ClearformerError):
    """A model cannot be checked as it is: how to use it must be said in a Subject."""


class TrainingError(ClearformerError):
    """Training cannot go on: a loss or a gradient is not finite."""

    exit_code = 1


class EngineError(ClearformerError):
    """A library that another engine runs on is missing, of another version, or computes wrongly on this machine."""

    exit_code = 1
