"""Piece by piece: what is computed in chunks is what is computed at once."""

import numpy as np
import pytest

from clearformer.engines.numpy import attention, chunks, norms
from clearformer.engines.numpy.functional import attention as attend
from clearformer.engines.numpy.tensor import Tensor

# the same sums in another order, in float64; 4e-15 seen
SUM_TOLERANCE = 1e-13


def test_chunks_cover_an_array_of_any_size():
    for size in (0, 1, chunks.CHUNK - 1, chunks.CHUNK, 3 * chunks.CHUNK + 1):
        array = np.zeros(size)
        chunks.in_chunks(lambda piece: np.add(piece, 1, out=piece), array)
        assert (array == 1).all()


def test_a_row_wider_than_a_chunk_is_one():
    assert chunks.chunks_of(np.empty((2, chunks.CHUNK + 1))) == [slice(0, 1), slice(1, 2)]


def test_norms_and_attention_are_the_same_in_many_chunks(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(1)
    x, g, weight = rng.standard_normal((20, 6)), rng.standard_normal((20, 6)), rng.standard_normal(6)
    heads = [rng.standard_normal((5, 4, 7, 6)) for _ in "qkvg"]
    found = []
    for size in (10**9, 13):
        monkeypatch.setattr(chunks, "CHUNK", size)
        out, kept = norms.layer_norm(x, weight, weight, eps=1e-5)
        q, k, v = (Tensor(each, requires_grad=True) for each in heads[:3])
        mixed = attend(q, k, v, causal=True)
        mixed.backward(heads[3])
        found.append([out, *norms.layer_norm_backward(g, weight, **kept), mixed.data, q.grad, k.grad, v.grad])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=SUM_TOLERANCE)


@pytest.mark.parametrize("heads", [2, 4])
def test_causal_attention_in_blocks_is_attention_with_a_causal_mask(heads: int):
    rng, T, S = np.random.default_rng(1), 2 * attention.BLOCK + 5, 2 * attention.BLOCK + 30  # noqa: N806
    inputs = [rng.standard_normal((2, count, length, 8)) for count, length in ((4, T), (heads, S), (heads, S))]
    g = rng.standard_normal((2, 4, T, 8))
    found = []
    for options in ({"causal": True}, {"mask": np.tri(T, S, S - T, dtype=np.bool_)[None, None]}):
        q, k, v = (Tensor(x, requires_grad=True) for x in inputs)
        out = attend(q, k, v, **options)
        out.backward(g)
        found.append([out.data, q.grad, k.grad, v.grad])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=SUM_TOLERANCE)
