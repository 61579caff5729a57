import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.ngrams import PAST, NGramEmbedding, ngram_hash

token_lists = st.lists(st.integers(0, 2**31 - 1), min_size=3, max_size=20)


def hash_by_hand(window: list[int], buckets: int) -> int:
    """The same with Python's unbounded integers; the newest token comes first."""
    mixed = 1
    for token in window:
        mixed = (mixed ^ (token + 1)) * 1_000_003 & (1 << 40) - 1
    return (mixed ^ mixed >> 20) % buckets


def numbered(buckets: int) -> NGramEmbedding:
    """Row b of the pairs is (b, 0), of the triples (0, b), so that outputs are the numbers of the rows."""
    embedding, rows = NGramEmbedding(buckets, 2).double(), torch.arange(buckets).double()
    with torch.no_grad():
        embedding.pairs[:, 0], embedding.triples[:, 1] = rows, rows
    return embedding


@given(tokens=token_lists, buckets=st.integers(1, 5000))
def test_rows_are_those_of_the_hash_in_unbounded_integers(tokens: list[int], buckets: int):
    newest_first = [tokens[t - PAST : t + 1][::-1] for t in range(PAST, len(tokens))]
    expected = [[hash_by_hand(window[:n], buckets) for n in (2, 3)] for window in newest_first]
    assert numbered(buckets)(torch.tensor([tokens]))[0].tolist() == expected


def test_the_vector_is_the_sum_of_a_pairs_and_a_triples_row():
    embedding = NGramEmbedding(1, 2)  # a single row for all
    with torch.no_grad():
        embedding.pairs[0], embedding.triples[0] = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])
    assert embedding(torch.tensor([[5, 6, 7, 8]])).tolist() == [[[11, 22], [11, 22]]]


@given(before=token_lists, other=token_lists, last=st.lists(st.integers(0, 50), min_size=3, max_size=3))
def test_a_vector_depends_on_the_last_three_tokens_alone(before: list[int], other: list[int], last: list[int]):
    embedding = numbered(5000)
    first, second = (embedding(torch.tensor([tokens + last]))[0, -1] for tokens in (before, other))
    assert torch.equal(first, second)


def test_a_changed_token_changes_the_vectors_of_itself_and_of_the_next_two():
    embedding, tokens = numbered(5000), torch.randint(100, (1, 12))
    changed = tokens.clone()
    changed[0, 5] += 1
    differs = (embedding(tokens) != embedding(changed))[0].T
    # token 5 is the fourth that has a vector; a pair reaches one token back, a triple two
    assert [column.nonzero().flatten().tolist() for column in differs] == [[3, 4], [3, 4, 5]]


def test_a_hash_depends_on_the_order_of_tokens():
    first, swapped = ngram_hash(torch.tensor([[1, 2], [2, 1]]), 100_003)
    assert first != swapped


@pytest.mark.parametrize("buckets", [1000, 1024, 4099])
@pytest.mark.parametrize("n", [2, 3])
def test_windows_spread_over_the_rows_as_evenly_as_by_chance(n: int, buckets: int):
    # all pairs of 100 tokens, or all triples of 22
    grids = torch.meshgrid([torch.arange(100 if n == 2 else 22)] * n, indexing="ij")
    counts = torch.bincount(ngram_hash(torch.stack(grids).flatten(1), buckets), minlength=buckets).double()
    expected = counts.sum() / buckets
    assert len(counts) == buckets
    # chi-square: by chance 1 per row, with a deviation of sqrt(2 / rows), of which five are allowed
    assert ((counts - expected) ** 2 / expected).mean() < 1 + 5 * math.sqrt(2 / buckets)


def test_vectors_are_zero_at_first_and_only_rows_in_use_receive_a_gradient():
    embedding, tokens = NGramEmbedding(50, 3), torch.tensor([[0, 0, 1, 2]])
    out = embedding(tokens)
    assert out.abs().max() == 0.0
    out.sum().backward()
    for table, windows in ((embedding.pairs, ([1, 0], [2, 1])), (embedding.triples, ([1, 0, 0], [2, 1, 0]))):
        used = {hash_by_hand(window, 50) for window in windows}
        assert table.grad.any(1).nonzero().flatten().tolist() == sorted(used)
