"""Which command a run of each family is used with."""

from clearformer.errors import RunError
from clearformer.runs.folder import Run

USES = {
    "transformer": ("translates", "translate"),
    "gpt": ("writes text", "generate"),
    "bert": ("fills in hidden tokens", "fill"),
    "classifier": ("classifies texts", "classify"),
}
"""family -> what it does, and the command for it"""


def require_family(run: Run, kind: str) -> None:
    """Raise RunError, naming the right command, unless the run is of that family."""
    does, command = USES[run.config.model.kind]
    if run.config.model.kind != kind:
        raise RunError(
            f"a run that {USES[kind][0]} was expected, but {run.folder} {does}; use: clearformer {command} {run.folder}"
        )
