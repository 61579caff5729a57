import pytest
import torch

from clearformer.blocks.cache import KVCache
from clearformer.blocks.masks import draw


def make_cache(batch_size: int = 2) -> KVCache:
    return KVCache(num_layers=2, batch_size=batch_size, num_heads=1, max_length=6, head_width=1, like=torch.zeros(0))


def tokens(*rows: list[float]) -> torch.Tensor:
    """Keys of width one in one head."""
    return torch.tensor(rows)[:, None, :, None]


def test_what_is_written_comes_back_after_what_was_written_before():
    cache = make_cache()
    cache.layers[0].write(tokens([1.0, 2.0], [3.0, 4.0]), tokens([10.0, 20.0], [30.0, 40.0]))
    cache.advance(2)
    keys, values = cache.layers[0].write(tokens([5.0], [6.0]), tokens([50.0], [60.0]))
    assert keys[:, 0, :, 0].tolist() == [[1, 2, 5], [3, 4, 6]]
    assert values[:, 0, :, 0].tolist() == [[10, 20, 50], [30, 40, 60]]


def test_rows_of_unequal_lengths_go_on_each_at_its_own_place():
    cache = make_cache()
    cache.layers[0].write(tokens([1.0, 2.0, 3.0], [4.0, 0.0, 0.0]), tokens([1.0, 2.0, 3.0], [4.0, 0.0, 0.0]))
    cache.advance(3)
    cache.set_lengths([3, 1])
    assert cache.positions(2).tolist() == [[3, 4], [1, 2]]
    mask = cache.mask(2)
    assert draw(mask[:1]) == "####.\n#####"
    assert draw(mask[1:]) == "##...\n###.."
    keys, values = cache.layers[0].write(tokens([5.0, 6.0], [7.0, 8.0]), tokens([5.0, 6.0], [7.0, 8.0]))
    assert keys[0, 0, :, 0].tolist() == values[0, 0, :, 0].tolist() == [1, 2, 3, 5, 6]
    assert keys[1, 0, :3, 0].tolist() == values[1, 0, :3, 0].tolist() == [4, 7, 8]


def test_even_rows_need_no_mask_of_their_own():
    cache = make_cache()
    cache.advance(3)
    assert cache.mask(1) is None
    cache.set_lengths([2, 3])
    assert cache.mask(1) is not None
    cache.set_lengths([2, 2])
    assert cache.mask(1) is None
    assert cache.positions(1).tolist() == [[2], [2]]


def test_the_tokens_before_the_next_ones_come_back_with_them_and_where_there_is_none_a_0():
    cache = make_cache()
    assert cache.with_past(torch.tensor([[5, 6, 7], [8, 9, 10]]), 2).tolist() == [[0, 0, 5, 6, 7], [0, 0, 8, 9, 10]]
    cache.advance(3)
    assert cache.with_past(torch.tensor([[1], [2]]), 2).tolist() == [[6, 7, 1], [9, 10, 2]]
    cache.advance(1)
    assert cache.with_past(torch.tensor([[3, 4], [3, 4]]), 2).tolist() == [[7, 1, 3, 4], [10, 2, 3, 4]]


def test_rows_of_unequal_lengths_have_each_their_own_past():
    cache = make_cache(3)
    cache.with_past(torch.tensor([[5, 6, 7], [8, 9, 99], [1, 99, 99]]), 2)  # 99 pads the shorter rows
    cache.advance(3)
    cache.set_lengths([3, 2, 1])
    new = torch.tensor([[11], [12], [13]])
    assert cache.with_past(new, 2).tolist() == [[6, 7, 11], [8, 9, 12], [0, 1, 13]]
    cache.advance(1)
    assert cache.with_past(new, 2).tolist() == [[7, 11, 11], [9, 12, 12], [1, 13, 13]]


def test_going_back_forgets_the_tokens_beyond():
    cache = make_cache()
    cache.with_past(torch.tensor([[5, 6, 7, 8], [1, 2, 3, 4]]), 2)
    cache.advance(4)
    cache.set_lengths([2, 2])
    assert cache.with_past(torch.tensor([[9], [9]]), 2).tolist() == [[5, 6, 9], [1, 2, 9]]


@pytest.mark.parametrize("lengths", [[2, 2], [2, 1]])
def test_a_cache_of_bfloat16_takes_keys_of_float32(lengths: list[int]):
    # rotary positions and norms of heads give float32 where products are in bfloat16
    like = torch.zeros(0, dtype=torch.bfloat16)
    cache = KVCache(num_layers=1, batch_size=2, num_heads=1, max_length=6, head_width=1, like=like)
    cache.set_lengths(lengths)
    keys, values = cache.layers[0].write(tokens([1.5], [2.5]), tokens([3.5], [4.5]).bfloat16())
    assert keys.dtype == values.dtype == torch.bfloat16
    assert [keys[row, 0, length, 0].item() for row, length in enumerate(lengths)] == [1.5, 2.5]


def test_storage_is_allocated_once_and_what_comes_back_are_views_of_it():
    cache = make_cache()
    layer = cache.layers[0]
    addresses = layer.keys.data_ptr(), layer.values.data_ptr()
    for step in range(6):
        keys, values = layer.write(torch.full((2, 1, 1, 1), float(step)), torch.full((2, 1, 1, 1), float(step)))
        cache.advance(1)
        assert (keys.data_ptr(), values.data_ptr()) == (layer.keys.data_ptr(), layer.values.data_ptr()) == addresses
        assert layer.keys.shape == layer.values.shape == (2, 1, 6, 1)


def test_layers_and_caches_do_not_share_storage():
    first, second = make_cache(), make_cache()
    first.layers[0].write(torch.ones(2, 1, 3, 1), torch.ones(2, 1, 3, 1))
    for layer in (first.layers[1], *second.layers):
        assert layer.keys.abs().max() == layer.values.abs().max() == 0.0


def test_more_tokens_than_there_is_room_for_are_not_taken():
    cache = make_cache()
    cache.advance(5)
    with pytest.raises(AssertionError, match="7 tokens do not fit into a cache of 6"):
        cache.layers[0].write(torch.ones(2, 1, 2, 1), torch.ones(2, 1, 2, 1))


def test_the_memory_is_projected_once():
    layer, calls = make_cache().layers[0], []

    def project(memory):
        calls.append(memory)
        return memory[:, None], memory[:, None]

    memory = torch.randn(2, 3, 1)
    first, second = layer.remember(project, memory), layer.remember(project, memory)
    assert len(calls) == 1
    assert torch.equal(first[0], memory[:, None])
    assert second[0] is first[0]
