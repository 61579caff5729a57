"""The formulas of benchmarks/scaling, with numbers worked by hand."""

import importlib
from pathlib import Path
from typing import Any

import pytest

SCALING = Path(__file__).parents[3] / "benchmarks" / "scaling"


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCALING))
    return importlib.import_module("ring")


def test_an_all_reduce_of_four_sends_three_parts_twice(ring: Any):
    # 6 messages of a quarter of 400 bytes, each 2 s and 100 / 50 s
    assert ring.ring_seconds(400, 4, ring.Link(2.0, 50.0)) == pytest.approx(6 * (2 + 2))


def test_a_ring_over_two_machines_crosses_between_them_once_in_each_round(ring: Any):
    cluster = ring.Cluster(1.0, 2, ring.Link(1.0, 100.0), ring.Link(5.0, 50.0))
    # of 6 steps 2 go between machines: 4 · 1 s + 2 · 5 s; 600 bytes are sent at the pace of the network
    assert cluster.all_reduce(400, 4) == pytest.approx(14 + 12)
    # within one machine: 2 · 1 s, and 400 bytes at 100
    assert cluster.all_reduce(400, 2) == pytest.approx(2 + 4)


@pytest.mark.parametrize(
    ("exchange", "expected"),
    [
        (0.0, 9.0),
        (1.0, 10.0),  # buckets are ready after 2, 4 and 6 s of the backward pass: only the last waits
        (3.0, 14.0),  # 3 s before it, 2 s until the first bucket is ready, and three exchanges of 3 s
    ],
)
def test_three_exchanges_overlap_with_six_seconds_of_the_backward_pass(ring: Any, exchange: float, expected: float):
    assert ring.step_seconds(9.0, 3, exchange) == pytest.approx(expected)


def test_efficiency_is_the_share_of_the_time_that_gpus_compute(ring: Any):
    # 1,000 parameters: one bucket of 4,000 bytes; 6 · 1,000 · 10 FLOP take 60 s, their exchange by two 10 + 10 s
    cluster = ring.Cluster(1000.0, 8, ring.Link(5.0, 400.0), ring.Link(0.0, 1.0))
    assert cluster.efficiency(1000, 10, 2) == pytest.approx(60 / 80)
    assert cluster.efficiency(1000, 10, 1) == 1.0


def test_a_link_is_found_again_from_the_times_that_it_gives(ring: Any):
    link = ring.Link(3e-5, 2e9)
    times = {size: ring.ring_seconds(size, 4, link) for size in (2**16, 2**20, 2**24)}
    found = ring.fit(times, 4)
    assert (found.latency, found.bandwidth) == pytest.approx((link.latency, link.bandwidth))


def test_gradients_of_gpt2_fill_nineteen_buckets_of_25_mib(ring: Any):
    assert ring.bucket_count(124_439_808) == 19  # 498 MB / 26.2 MB = 18.99
