import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.blocks.cache import KVCache, LayerCache
from clearformer.blocks.masks import draw

# float32 logits of scrambled models, summed in another order: 2.1e-6 seen over 500 draws, allowed ten times that
LOGIT_TOLERANCE = 2e-5


def make_cache(rows: int = 2, **changes: object) -> KVCache:
    sizes = {"num_layers": 2, "num_heads": 1, "max_length": 6, "head_width": 1, "like": torch.zeros(0)}
    return KVCache(batch_size=rows, **(sizes | changes))


def write(cache: KVCache, *rows: list[float]) -> list[list[float]]:
    """Write keys of width one to every layer, and values ten times as large; return all keys of each row."""
    new = torch.tensor(rows)[:, None, :, None]
    stored = [layer.write(new + index, 10 * (new + index)) for index, layer in enumerate(cache.layers)]
    cache.advance(new.shape[2])
    for index, (keys, values) in enumerate(stored):  # layer i has keys that are larger by i
        assert torch.equal(10 * keys, values)
        for row, length in enumerate(cache.lengths.tolist()):
            assert torch.equal(keys[row, :, :length], stored[0][0][row, :, :length] + index)
    return stored[0][0][:, 0, :, 0].tolist()


def with_past(cache: KVCache, *rows: list[int]) -> list[list[int]]:
    return cache.with_past(torch.tensor(rows), 2).tolist()


def test_keys_and_values_follow_those_written_before():
    cache = make_cache()
    write(cache, [1.0, 2.0], [3.0, 4.0])
    assert write(cache, [5.0], [6.0]) == [[1, 2, 5], [3, 4, 6]]


def test_rows_of_unequal_lengths_continue_each_at_its_own_position():
    cache = make_cache()
    write(cache, [1.0, 2.0, 3.0], [4.0, 0.0, 0.0])
    cache.set_lengths([3, 1])
    assert cache.positions(2).tolist() == [[3, 4], [1, 2]]
    mask = cache.mask(2)
    assert draw(mask[:1]) == "####.\n#####"
    assert draw(mask[1:]) == "##...\n###.."
    keys = write(cache, [5.0, 6.0], [7.0, 8.0])
    assert keys[0] == [1, 2, 3, 5, 6]
    assert keys[1][:3] == [4, 7, 8]


def test_only_rows_of_unequal_lengths_need_a_mask():
    cache = make_cache()
    cache.advance(3)
    assert cache.mask(1) is None
    cache.set_lengths([2, 3])
    assert cache.mask(1) is not None
    cache.set_lengths([2, 2])
    assert cache.mask(1) is None
    assert cache.positions(1).tolist() == [[2], [2]]


def test_new_tokens_are_preceded_by_past_ones_or_by_0_where_there_are_none():
    cache = make_cache()
    assert with_past(cache, [5, 6, 7], [8, 9, 10]) == [[0, 0, 5, 6, 7], [0, 0, 8, 9, 10]]
    cache.advance(3)
    assert with_past(cache, [1], [2]) == [[6, 7, 1], [9, 10, 2]]
    cache.advance(1)
    assert with_past(cache, [3, 4], [3, 4]) == [[7, 1, 3, 4], [10, 2, 3, 4]]


def test_rows_of_unequal_lengths_have_their_own_past_tokens():
    cache = make_cache(3)
    with_past(cache, [5, 6, 7], [8, 9, 99], [1, 99, 99])  # 99 pads the shorter rows
    cache.advance(3)
    cache.set_lengths([3, 2, 1])
    assert with_past(cache, [11], [12], [13]) == [[6, 7, 11], [8, 9, 12], [0, 1, 13]]
    cache.advance(1)
    assert with_past(cache, [11], [12], [13]) == [[7, 11, 11], [9, 12, 12], [1, 13, 13]]


def test_tokens_beyond_a_reduced_length_are_forgotten():
    cache = make_cache()
    with_past(cache, [5, 6, 7, 8], [1, 2, 3, 4])
    cache.advance(4)
    cache.set_lengths([2, 2])
    assert with_past(cache, [9], [9]) == [[5, 6, 9], [1, 2, 9]]


@pytest.mark.parametrize("lengths", [[2, 2], [2, 1]])
def test_a_cache_of_bfloat16_takes_keys_of_float32(lengths: list[int]):
    # rotary positions and norms of heads give float32 where products are in bfloat16
    cache = make_cache(like=torch.zeros(0, dtype=torch.bfloat16))
    cache.set_lengths(lengths)
    new = torch.tensor([1.5, 2.5]).view(2, 1, 1, 1)
    keys, values = cache.layers[0].write(new, new.bfloat16())
    assert keys.dtype == values.dtype == torch.bfloat16
    assert [keys[row, 0, length, 0].item() for row, length in enumerate(lengths)] == [1.5, 2.5]


def test_storage_is_allocated_once_and_returned_as_views():
    cache = make_cache()
    layer = cache.layers[0]
    addresses = layer.keys.data_ptr(), layer.values.data_ptr()
    for step in range(6):
        keys, values = layer.write(*torch.full((2, 2, 1, 1, 1), float(step)))
        cache.advance(1)
        assert (keys.data_ptr(), values.data_ptr()) == (layer.keys.data_ptr(), layer.values.data_ptr()) == addresses
        assert layer.keys.shape == layer.values.shape == (2, 1, 6, 1)


def test_caches_do_not_share_storage():
    first, second = make_cache(), make_cache()
    write(first, [1.0], [2.0])
    assert not any(layer.keys.any() or layer.values.any() for layer in second.layers)


def test_more_tokens_than_fit_are_refused():
    cache = make_cache()
    cache.advance(5)
    with pytest.raises(AssertionError, match="7 tokens do not fit into a cache of 6"):
        write(cache, [1.0, 1.0], [1.0, 1.0])


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


@pytest.mark.parametrize("rows", [[1, 0, 2], [2, 2, 0], [1], [0, 0, 1, 1, 2, 2], [2, 1, 0, 2]], ids=str)
def test_a_reordered_row_has_the_keys_of_the_row_it_copies(rows: list[int]):
    cache, past = make_cache(3), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    write(cache, *past)
    cache.reorder(torch.tensor(rows))
    new = [7.0 + index for index in range(len(rows))]
    assert write(cache, *([key] for key in new)) == [[*past[row], key] for row, key in zip(rows, new, strict=True)]


def test_a_reordered_row_has_the_length_and_tokens_of_the_row_it_copies():
    cache = make_cache(3)
    with_past(cache, [4, 5, 6], [7, 8, 9], [10, 11, 12])
    write(cache, [1.0, 2.0, 3.0], [4.0, 5.0, 0.0], [6.0, 0.0, 0.0])
    cache.set_lengths([3, 2, 1])
    cache.reorder(torch.tensor([2, 1, 1]))
    assert cache.lengths.tolist() == [1, 2, 2]
    assert cache.longest == 2
    assert cache.mask(1) is not None  # lengths still differ
    assert with_past(cache, [20], [21], [22]) == [[0, 10, 20], [7, 8, 21], [7, 8, 22]]
    keys = write(cache, [7.0], [8.0], [9.0])
    assert [keys[0][:2], *keys[1:]] == [[6, 7], [4, 5, 8], [4, 5, 9]]


def test_rows_reordered_to_equal_lengths_need_no_mask():
    cache = make_cache()
    write(cache, [1.0, 2.0], [3.0, 0.0])
    cache.set_lengths([2, 1])
    cache.reorder(torch.tensor([1, 1]))
    assert cache.mask(1) is None
    assert write(cache, [4.0], [5.0]) == [[3, 4], [3, 5]]


def test_reordering_allocates_storage_only_for_more_rows():
    cache = make_cache(3)
    write(cache, [1.0], [2.0], [3.0])
    address = cache.layers[0].keys.data_ptr()
    for rows in ([2, 0, 1], [1, 1], [0]):
        cache.reorder(torch.tensor(rows))
        assert cache.layers[0].keys.data_ptr() == address
        assert cache.layers[0].keys.shape == (len(rows), 1, 6, 1)
    cache.reorder(torch.tensor([0, 0]))
    assert cache.layers[0].keys.shape == cache.layers[0].values.shape == (2, 1, 6, 1)


def remember_two_sources(layer: LayerCache) -> None:
    layer.remember(lambda memory: (memory[:, None], 10 * memory[:, None]), torch.tensor([[[1.0]], [[2.0]]]))


def test_memory_is_copied_only_if_a_row_now_belongs_to_another_source():
    cache = make_cache(num_layers=1)
    (layer,) = cache.layers
    remember_two_sources(layer)
    for rows, copied, sources in (
        ([0, 0, 1, 1], True, [1, 1, 2, 2]),
        ([1, 0, 2, 3], False, [1, 1, 2, 2]),
        ([0, 0, 3, 2], False, [1, 1, 2, 2]),
        ([1, 1, 3, 3], False, [1, 1, 2, 2]),
        ([0, 2, 3], True, [1, 2, 2]),
        ([1, 2, 0], True, [2, 2, 1]),
    ):
        before = layer.memory[0]
        cache.reorder(torch.tensor(rows))
        keys, values = layer.memory
        assert (keys is not before) == copied
        assert keys.flatten().tolist() == sources
        assert torch.equal(10 * keys, values)


def test_memory_is_not_affected_by_reorderings_before_it_is_projected():
    cache = make_cache(num_layers=1)
    (layer,) = cache.layers
    cache.reorder(torch.tensor([1, 1]))
    remember_two_sources(layer)
    cache.reorder(torch.tensor([1, 0]))
    assert layer.memory[0].flatten().tolist() == [2, 1]


@settings(max_examples=25)
@given(
    variant=st.sampled_from([{}, {"positions": "rotary", "num_kv_heads": 1}, {"window": 2}, {"ngram_buckets": 50}]),
    lengths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    orders=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
)
def test_a_model_continues_reordered_rows_as_if_it_had_read_them_anew(tiny, variant, lengths, orders, seed: int):
    torch.manual_seed(seed)
    model = tiny("gpt", seed, **variant)
    rows = [torch.randint(4, 11, (length,)).tolist() for length in lengths]
    config = model.config
    cache = make_cache(len(rows), num_heads=config.kv_heads, max_length=config.context, head_width=config.key_width)
    with torch.inference_mode():
        model.features(torch.tensor([[*row, 0, 0][: max(lengths)] for row in rows]), cache)
        cache.set_lengths(lengths)
        for order in orders:
            order = [row % len(rows) for row in order]
            cache.reorder(torch.tensor(order))
            rows = [[*rows[row], int(torch.randint(4, 11, ()))] for row in order]
            logits = model.output_projection(model.features(torch.tensor([row[-1:] for row in rows]), cache))[:, 0]
            expected = torch.stack([model(torch.tensor([row]))[0, -1] for row in rows])
            torch.testing.assert_close(logits, expected, atol=LOGIT_TOLERANCE, rtol=0)
