import itertools
import threading
from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_info

from clearformer.engines.numpy import threads
from clearformer.engines.numpy.threads import GRAIN, SLEEPING, in_threads


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(threads, "threads", lambda: 3)
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()


@pytest.fixture
def asked_anew() -> Iterator[None]:
    threads.threads.cache_clear()
    yield
    threads.threads.cache_clear()


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("rows", "numbers", "pieces"), [(10, 9 * GRAIN, 3), (10, 2 * GRAIN, 2), (10, 9, 1), (2, 9 * GRAIN, 2), (0, 0, 1)]
)
def test_pieces_are_all_rows_in_order_and_none_is_too_small(rows, numbers, pieces):
    found = in_threads(rows, numbers, lambda *piece: list(range(*piece)))
    assert len(found) == pieces
    assert list(itertools.chain(*found)) == list(range(rows))


@pytest.mark.usefixtures("three")
def test_pieces_are_done_at_once():
    together = threading.Barrier(3, timeout=60)
    assert sorted(in_threads(3, 3 * GRAIN, lambda *_: together.wait())) == [0, 1, 2]


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("which", range(3))
def test_what_a_piece_raises_is_raised(which):
    def piece(first, _last):
        if first == which:
            raise MemoryError("too much")

    with pytest.raises(MemoryError, match="too much"):
        in_threads(3, 3 * GRAIN, piece)


@pytest.mark.usefixtures("asked_anew")
def test_there_are_as_many_as_for_products_and_only_where_those_sleep(monkeypatch):
    monkeypatch.delenv(SLEEPING, raising=False)
    assert threads.threads() == 1
    threads.threads.cache_clear()
    monkeypatch.setenv(SLEEPING, "18")
    assert threads.threads() == max(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
