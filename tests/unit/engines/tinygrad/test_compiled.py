"""Batches are padded to few shapes, with padding that is not real and has no targets."""

import numpy as np
import pytest

from clearformer.data.batches import IGNORE, PairBatch
from clearformer.engines.tinygrad import adapter

pytestmark = pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason)


def test_rows_are_rounded_up_to_three_significant_bits():
    from clearformer.engines.tinygrad.compiled import rounded_rows

    # 8 is 1000, 9 is 1001 and goes up to 1010; 17 is 10001 and goes up to 10100
    rows = {1: 1, 5: 5, 7: 7, 8: 8, 9: 10, 12: 12, 13: 14, 17: 20, 64: 64, 65: 80, 190: 192}
    assert {number: rounded_rows(number) for number in rows} == rows


def test_lengths_are_rounded_up_to_a_multiple_of_sixteen_within_the_context():
    from clearformer.engines.tinygrad.compiled import rounded_length

    assert [rounded_length(length, 40) for length in (1, 16, 17, 33, 40)] == [16, 16, 32, 40, 40]


def test_padding_is_not_real_and_has_no_targets():
    from clearformer.engines.tinygrad.compiled import padded_inputs, padded_targets

    ones, real = np.ones((9, 3), np.int64), np.ones((9, 3), bool)
    batch = PairBatch(ones, ones, real, real, ones)
    targets = padded_targets(batch, 40).numpy()
    source, _, source_real, target_real = (tensor.numpy() for tensor in padded_inputs(batch.inputs, 40))
    assert targets.shape == source.shape == (10, 16)
    assert (targets[:9, :3] == 1).all()
    assert (targets == IGNORE).sum() == (~source_real).sum() == (~target_real).sum() == 160 - 27


def test_views_of_parameters_and_the_whole_buffer_share_memory():
    from clearformer.engines.tinygrad.storage import Layout, Storage

    shapes = {"embedding.weight": (3, 5), "decoder.layers.0.linear1.weight": (2, 3), "decoder.norm.weight": (3,)}
    storage = Storage(Layout.of(shapes))
    arrays = {name: np.random.default_rng(1).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    storage.write(arrays)
    view = storage.view("decoder.norm.weight")
    assert all(np.array_equal(storage.view(name).numpy(), array) for name, array in arrays.items())
    view.assign(view * 2).realize()
    assert np.array_equal(storage.read()["decoder.norm.weight"], arrays["decoder.norm.weight"] * 2)
    assert np.array_equal(storage.read()["embedding.weight"], arrays["embedding.weight"])
