"""Files and comparisons that several tests of the data share."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, content)` writes a file, compressed if its name ends in .gz, and returns its path."""

    def write_file(name: str, content: str | bytes) -> Path:
        data = content.encode() if isinstance(content, str) else content
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        return path

    return write_file


@pytest.fixture(scope="session")
def equal_batches() -> Callable[[object, object], bool]:
    """Whether all arrays of two batches are equal."""

    def equal(one: object, other: object) -> bool:
        return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))

    return equal


@pytest.fixture(scope="session")
def assert_stateless(equal_batches: Callable[[object, object], bool]) -> Callable[..., None]:
    """Assert that batches depend on the seed and the step alone; `make(seed)` returns a new sampler."""

    def check(make: Callable[[int], object]) -> None:
        sampler = make(3)
        steps = range(3 * sampler.batches_per_epoch)
        in_turn = [sampler.batch(step) for step in steps]
        assert all(equal_batches(sampler.batch(step), in_turn[step]) for step in reversed(steps))
        assert all(equal_batches(make(3).batch(step), in_turn[step]) for step in steps)
        # a few batches of one item may coincide
        assert sum(equal_batches(make(4).batch(step), in_turn[step]) for step in steps) < len(steps) / 10

    return check
