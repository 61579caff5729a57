"""Fixtures for tests of parts: the outcomes of all checks of a part, and the causes of failures."""

from collections.abc import Callable
from typing import Any

import pytest

from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.run import run_part


@pytest.fixture(scope="session")
def outcomes() -> Callable[..., dict[str, Outcome]]:
    """The outcome of each check, by its name without the part's."""

    def run(part: str, target: Any, seed: int = 1) -> dict[str, Outcome]:
        return {result.id.split(".")[1]: result.outcome for result in run_part(part, target, seed)}

    return run


@pytest.fixture(scope="session")
def causes(outcomes: Callable[..., dict[str, Outcome]]) -> Callable[..., dict[str, str]]:
    """The cause of each failure, or "crashed"; empty where all pass."""

    def run(part: str, target: Any, seed: int = 1) -> dict[str, str]:
        found = outcomes(part, target, seed)
        assert any(outcome.status == "passed" for outcome in found.values()), found
        return {
            name: outcome.cause or outcome.status
            for name, outcome in found.items()
            if outcome.status not in ("passed", "does not apply")
        }

    return run
