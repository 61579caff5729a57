"""What a reader has finished, and which hints were shown: a small JSON file in the user's folder of state."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clearformer.errors import ClearformerError
from clearformer.guide.stages import Script


def state_folder() -> Path:
    """$CLEARFORMER_STATE, else $XDG_STATE_HOME/clearformer, else ~/.local/state/clearformer."""
    if folder := os.environ.get("CLEARFORMER_STATE"):
        return Path(folder)
    parent = os.environ.get("XDG_STATE_HOME")
    return (Path(parent) if parent else Path.home() / ".local" / "state") / "clearformer"


def progress_file() -> Path:
    """Where progress is kept."""
    return state_folder() / "guide.json"


@dataclass
class Progress:
    """Names of the finished scripts, and how many hints to each exercise were shown."""

    finished: list[str] = field(default_factory=list)
    hints: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Progress":
        """What the file says; nothing finished if there is none. Raises ClearformerError if it is damaged."""
        path = progress_file()
        try:
            read = cls(**json.loads(path.read_text(encoding="utf-8")))
            valid = all(isinstance(name, str) for name in read.finished) and all(
                isinstance(count, int) for count in read.hints.values()
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise ClearformerError(f"{path} should say which stages are finished, but cannot be read; delete it")
        return read

    def finish(self, script: Script) -> None:
        if script.name not in self.finished:
            self.finished.append(script.name)

    def next_stage(self, stages: list[Script]) -> Script | None:
        """The stage after the last finished one; None if that is the guide's last."""
        done = [number for number, stage in enumerate(stages, 1) if stage.name in self.finished]
        return next(iter(stages[max(done, default=0) :]), None)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"
