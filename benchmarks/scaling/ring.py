"""How long an all-reduce and a training step of N processes take, from latency, bandwidth and the step of one.

    all-reduce of b bytes:  2 (N - 1) · latency + 2 (N - 1) / N · b / bandwidth        by a ring
    step:                   forward + max(backward + c, backward / K + K · c)          K all-reduces of c seconds each

In a ring every process sends N - 1 parts of the sum to its neighbour, then N - 1 parts of the result. DDP (Li et al.
2020, arXiv:2006.15704) divides the gradients into K buckets and exchanges each as soon as the backward pass has
computed it, one after another: the last one, or all but the first 1/K of the backward pass, is what bounds the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BUCKET_BYTES = 25 * 2**20
"""of DistributedDataParallel, if nothing else is asked for"""
BYTES_PER_GRADIENT = 4
"""weights and gradients stay in float32, also where autocast computes in bfloat16"""
FORWARD = 1 / 3
"""of a step's time: 2 of the 6 FLOP per parameter and token (Kaplan et al. 2020, arXiv:2001.08361)"""


@dataclass(frozen=True)
class Link:
    """What connects neighbours in a ring."""

    latency: float
    """seconds until a message of no bytes has arrived"""
    bandwidth: float
    """bytes a second, in each direction"""


@dataclass(frozen=True)
class Cluster:
    """Machines of several GPUs each, in one ring."""

    flops: float
    """that one GPU does in a second of training"""
    gpus: int
    """of a machine"""
    within: Link
    """between the GPUs of a machine"""
    between: Link
    """between machines; all network cards of one together"""

    def all_reduce(self, size: float, number: int) -> float:
        """Seconds of an all-reduce of `size` bytes by `number` GPUs, at the pace of the slowest link."""
        machines = -(-number // self.gpus)
        between = 2 * (machines - 1)
        links = [self.within] if machines == 1 else [self.within, self.between]
        latency = (2 * (number - 1) - between) * self.within.latency + between * self.between.latency
        return latency + _sent(size, number) / min(link.bandwidth for link in links)

    def step(self, parameters: int, tokens: float, number: int) -> float:
        """Seconds of a step of `tokens` tokens a GPU."""
        compute = 6 * parameters * tokens / self.flops
        buckets = bucket_count(parameters)
        size = parameters * BYTES_PER_GRADIENT / buckets
        return step_seconds(compute, buckets, self.all_reduce(size, number) if number > 1 else 0.0)

    def efficiency(self, parameters: int, tokens: float, number: int) -> float:
        """The share of the time in which GPUs compute."""
        return self.step(parameters, tokens, 1) / self.step(parameters, tokens, number)


def ring_seconds(size: float, number: int, link: Link) -> float:
    """Seconds of an all-reduce of `size` bytes by `number` processes."""
    return 2 * (number - 1) * link.latency + _sent(size, number) / link.bandwidth


def step_seconds(compute: float, buckets: int, exchange: float) -> float:
    """Seconds of a step whose `buckets` exchanges, of `exchange` seconds each, overlap with the backward pass."""
    backward = compute * (1 - FORWARD)
    return compute - backward + max(backward + exchange, backward / buckets + buckets * exchange)


def bucket_count(parameters: int) -> int:
    return -(-parameters * BYTES_PER_GRADIENT // BUCKET_BYTES)


def fit(measured: Mapping[int, float], number: int) -> Link:
    """The link of `number` processes whose all-reduces of so many bytes took `measured` seconds.

    By least squares of relative errors; the latency is at least 0.
    """
    columns = [[2 * (number - 1) / seconds, _sent(size, number) / seconds] for size, seconds in measured.items()]
    latency, per_byte = np.linalg.lstsq(np.array(columns), np.ones(len(columns)), rcond=None)[0]
    return Link(max(0.0, float(latency)), 1 / float(per_byte))


def _sent(size: float, number: int) -> float:
    """Bytes that each process sends."""
    return 2 * (number - 1) / number * size
