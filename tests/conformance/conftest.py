"""Make the suite's modules importable by its tests, and compile tinygrad's kernels quickly."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from clearformer.engines.tinygrad.adapter import reason_to_skip

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _unoptimized(request: pytest.FixtureRequest) -> Iterator[None]:
    """tinygrad's kernels are optimized, two thirds of the compilation time, for a hundred steps only."""
    if "curve" in request.node.name or reason_to_skip():
        context = nullcontext()
    else:
        from tinygrad import Context

        context = Context(NOOPT=1)
    with context:
        yield
