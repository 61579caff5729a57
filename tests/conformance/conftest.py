"""Make the suite's modules importable by its tests, and compile tinygrad's kernels quickly."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _unoptimized(request: pytest.FixtureRequest) -> None:
    """tinygrad's kernels are optimized for a hundred steps only."""
    if "curve" not in request.node.name:
        request.getfixturevalue("unoptimized")
