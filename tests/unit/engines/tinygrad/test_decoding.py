"""With and without a cache, rows are continued as by PyTorch, whatever the other rows of the batch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from clearformer.engine import engine_of
from clearformer.engines.tinygrad import adapter
from clearformer.generation.beam import Beam, beam_search
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.generation.sources import padded_sources

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]

# float32 sums in another order: 5e-7 of the largest logit measured, ten times that allowed
LOGITS_TOLERANCE = 5e-6
PROMPTS = [[5, 6, 7], [4], [9, 9, 8, 7, 6]]
VARIED = {"positions": "rotary", "num_kv_heads": 1, "ngram_buckets": 13, "window": 3, "qk_norm": True}


def assert_close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < LOGITS_TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(
    "changes",
    [{}, VARIED, {"positions": "alibi"}, {"positions": "relative"}],
    ids=["learned", "varied", "alibi", "relative"],
)
def test_rows_of_unequal_lengths_grow_as_in_pytorch(changes: dict[str, Any], both: Callable[..., Any]):
    model, twin = both("gpt", num_layers=1, context=20, **changes)
    decoders = [
        engine_of(model).make_decoder(model, PROMPTS, cached=True),
        *(engine_of(twin).make_decoder(twin, PROMPTS, cached=c) for c in (True, False)),
    ]
    rng = np.random.default_rng(1)
    for moves in ([0, 1, 2], [2, 2, 0, 1, 1], [0, 1, 2, 3, 4], [4, 0]):  # more rows, as many, fewer
        for decoder in decoders:
            decoder.reorder(moves)
        tokens = rng.integers(4, 11, len(moves)).tolist()
        expected, *found = (decoder.next_logits() for decoder in decoders)
        for logits in found:
            assert_close(logits, expected)
        for decoder in decoders:
            decoder.append(tokens)


def test_two_decoders_of_one_shape_do_not_disturb_each_other(both: Callable[..., Any]):
    model, twin = both("gpt", num_layers=1)
    ours = [engine_of(twin).make_decoder(twin, [prompt], cached=True) for prompt in ([5, 6], [7, 8])]
    theirs = [engine_of(model).make_decoder(model, [prompt], cached=True) for prompt in ([5, 6], [7, 8])]
    for token in (4, 5, 6):
        for decoder, other in zip(ours, theirs, strict=True):
            assert_close(decoder.next_logits(), other.next_logits())
            decoder.append([token])
            other.append([token])


def test_a_full_context_slides_as_in_pytorch(both: Callable[..., Any]):
    model, twin = both("gpt", num_layers=1)
    expected = list(generate(model, PROMPTS, 12, GREEDY, slide=True))
    assert list(generate(twin, PROMPTS, 12, GREEDY, slide=True)) == expected


@pytest.mark.parametrize("changes", [{}, VARIED | {"norm_order": "pre"}], ids=["paper", "varied"])
def test_beam_search_finds_the_targets_that_pytorch_finds(changes: dict[str, Any], both: Callable[..., Any]):
    model, twin = both("transformer", num_layers=1, context=20, **changes)
    expected, found, uncached = (
        beam_search(one, PROMPTS, Beam(3, n_best=2), cached=cached)
        for one, cached in ((model, True), (twin, True), (twin, False))
    )
    for other in (found, uncached):
        assert [[one.tokens for one in best] for best in other] == [[one.tokens for one in best] for best in expected]
        scores, right = ([one.score for best in targets for one in best] for targets in (other, expected))
        assert scores == pytest.approx(right, rel=LOGITS_TOLERANCE)


def test_a_target_does_not_depend_on_the_sources_beside_it(both: Callable[..., Any]):
    _, twin = both("transformer", num_layers=1, context=20)

    def logits(prompts: list[list[int]]) -> Any:
        sources = padded_sources(prompts, 20)
        return engine_of(twin).make_target_decoder(twin, sources, cached=True, max_length=20).next_logits()

    together = logits(PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        assert_close(together[row : row + 1], logits([prompt]))
