"""The share of a GPU's peak: operations a token, and the peak of the GPU at hand."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "speed"))

import gpu
import work


def test_gpt_2_takes_860_million_operations_a_token():
    # by hand: 6 * 124.4 M = 746.6 M, and 12 * 12 layers * 768 wide * 1,024 tokens = 113.2 M
    assert gpu.operations_a_token(work.GPTS["G"], 124_439_808) == pytest.approx(859.9e6, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12), ("NVIDIA H100 80GB HBM3", 989e12), ("Tesla T4", None)],
)
def test_the_peak_is_that_of_the_gpu_with_the_longest_fitting_name(name: str, peak: float | None):
    assert gpu.peak_of(name) == peak
