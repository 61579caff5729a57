"""Threads: parts done at once give what parts done one by one give, to the bit."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from clearformer.config import GPTConfig, TrainConfig
from clearformer.data.batches import TextBatch
from clearformer.engines.numpy import threads
from clearformer.engines.numpy.attention import BLOCK
from clearformer.engines.numpy.functional import attention
from clearformer.engines.numpy.modes import manual_seed
from clearformer.engines.numpy.optimizer import Optimizer
from clearformer.engines.numpy.tensor import Tensor
from clearformer.engines.numpy.training import accumulate_gradients, build

# the same sums in another order, in float64; 4e-15 seen
SUM_TOLERANCE = 1e-13


@pytest.fixture
def three_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pool, controller, _ = threads._pool()
    more = type(pool)(3)
    monkeypatch.setattr(threads, "_pool", lambda: (more, controller, 3))
    yield
    more.shutdown()


@pytest.mark.usefixtures("three_threads")
def test_every_part_is_done_once_and_by_several_threads():
    done, barrier = [], threading.Barrier(3, timeout=10)

    def part(number: int) -> None:
        if number < 3:
            barrier.wait()  # passes only if three threads are here at once
        done.append(number)

    threads.in_parts(part, 10, threads.LEAST)
    assert sorted(done) == list(range(10))


@pytest.mark.usefixtures("three_threads")
def test_little_work_stays_on_one_thread():
    seen = set()
    threads.in_parts(lambda _: seen.add(threading.get_ident()), 10, threads.LEAST - 1)
    assert seen == {threading.get_ident()}


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_part_is_raised():
    with pytest.raises(ZeroDivisionError):
        threads.in_parts(lambda number: 1 / (number - 5), 10, threads.LEAST)


def test_chunks_cover_an_array_of_any_size():
    for size in (0, 1, threads.CHUNK - 1, threads.CHUNK, 3 * threads.CHUNK + 1):
        array = np.zeros(size)
        threads.in_chunks(lambda piece: np.add(piece, 1, out=piece), array)
        assert array.sum() == size


def test_a_step_is_the_same_to_the_bit_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch):
    config = GPTConfig(vocab_size=20, context=64, d_model=64, num_heads=4, num_layers=1, d_ff=512, dropout=0.1)
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 20, (16, 65))
    pool, controller, _ = threads._pool()

    def weights(count: int) -> dict[str, np.ndarray]:
        monkeypatch.setattr(threads, "_pool", lambda: (type(pool)(count), controller, count))
        monkeypatch.setattr(threads, "LEAST", 1)
        model = build(config, 1)
        optimizer = Optimizer(model, TrainConfig())
        manual_seed(1)
        accumulate_gradients(model, [TextBatch(tokens[:, :-1], tokens[:, 1:])], 0.1)
        optimizer.step(1e-3)
        return {name: weight.data for name, weight in model.named_parameters()}

    one, three = weights(1), weights(3)
    assert all(np.array_equal(one[name], three[name]) for name in one)


@pytest.mark.parametrize("heads", [2, 4])
def test_causal_attention_in_blocks_is_attention_with_a_causal_mask(heads: int):
    rng, T, S = np.random.default_rng(1), 2 * BLOCK + 5, 2 * BLOCK + 30  # noqa: N806
    inputs = [rng.standard_normal((2, count, length, 8)) for count, length in ((4, T), (heads, S), (heads, S))]
    g = rng.standard_normal((2, 4, T, 8))
    found = []
    for options in ({"causal": True}, {"mask": np.tri(T, S, S - T, dtype=np.bool_)[None, None]}):
        q, k, v = (Tensor(x, requires_grad=True) for x in inputs)
        out = attention(q, k, v, **options)
        out.backward(g)
        found.append([out.data, q.grad, k.grad, v.grad])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=SUM_TOLERANCE)
