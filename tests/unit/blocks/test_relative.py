import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.cache import KVCache
from clearformer.blocks.relative import RelativePositions, bucket


def test_buckets_of_an_encoder_worked_by_hand():
    # 16 a side: 0 to 7 exactly, then a bucket for every half of a doubling, 8 · 2^(k/2), the last from 8 · 2^3.5 = 90.5
    distances = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 127, 128, 5000]
    before = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15, 15]
    assert bucket(-torch.tensor(distances), causal=False).tolist() == before
    assert bucket(torch.tensor(distances[1:]), causal=False).tolist() == [16 + b for b in before[1:]]


def test_buckets_of_a_decoder_worked_by_hand():
    # 32: 0 to 15 exactly, then 16 · 8^(k/16): 18.2 begins bucket 17, 20.7 bucket 18, 112.3 bucket 31
    distances = [0, 1, 15, 16, 18, 19, 20, 21, 112, 113, 127, 128, 5000]
    found = [0, 1, 15, 16, 16, 17, 17, 18, 30, 31, 31, 31, 31]
    assert bucket(-torch.tensor(distances), causal=True).tolist() == found
    assert bucket(torch.tensor([1, 9, 300]), causal=True).tolist() == [0, 0, 0]  # which no query attends to


@pytest.mark.parametrize("causal", [False, True])
def test_buckets_are_those_of_transformers(causal: bool):
    modeling = pytest.importorskip("transformers.models.t5.modeling_t5")
    offsets = torch.arange(-3000, 3001)
    expected = modeling.T5Attention._relative_position_bucket(offsets, bidirectional=not causal)
    assert torch.equal(bucket(offsets, causal=causal), expected)


@given(past=st.integers(1, 200), length=st.integers(1, 5), causal=st.booleans())
def test_the_bias_of_later_queries_is_a_part_of_that_of_all(past: int, length: int, causal: bool):
    block = RelativePositions(3, causal=causal)
    torch.nn.init.normal_(block.weight)
    cache = KVCache(num_layers=0, batch_size=2, num_heads=1, max_length=300, head_width=1, like=torch.zeros(0))
    cache.set_lengths([past, past - 1])
    whole, later = block(past + length), block(length, cache)
    assert torch.equal(later[0], whole[0, :, past:])
    assert torch.equal(later[1, ..., :-1], whole[0, :, past - 1 : -1, :-1])


def test_a_row_of_the_table_learns_from_every_pair_of_its_distance():
    block = RelativePositions(1, causal=True)
    block(4).tril().sum().backward()
    assert block.weight.grad[:5, 0].tolist() == [4, 3, 2, 1, 0]
