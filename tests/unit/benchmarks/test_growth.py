"""How time grows is told by what the last doubling multiplies it by."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "speed"))

import growth_page


@pytest.mark.parametrize(
    ("sizes", "seconds", "expected"),
    [
        ((1, 2), (3.0, 12.0), 4.0),  # with the square
        ((64, 256, 1024), (9.0, 1.0, 4.0), 2.0),  # in proportion, over two doublings
        ((8, 64), (5.0, 5.0), 1.0),
    ],
)
def test_a_doubling_between_the_last_two_points_multiplies_time_by(
    sizes: tuple[int, ...], seconds: tuple[float, ...], expected: float
):
    points = [{"width": float(size), "step": value} for size, value in zip(sizes, seconds, strict=True)]
    assert growth_page.last_doubling(points, "width", "step") == pytest.approx(expected)
