"""What beam search asks of logits, in C: log-sums and maxima, worked out by hand."""

import math

import numpy as np
import pytest

from clearformer.config import TransformerConfig
from clearformer.engines.c.model import Model
from clearformer.generation.decoder import Decoder

SIZES = [(1, 1, 1), (3, 7, 3), (5, 1000, 64), (160, 513, 64)]
"""rows, logits of a row, columns: fewer than a vector holds, not a multiple, enough for several threads"""
TOLERANCE = 5e-7
"""relative, of sums in float32 of up to 256 numbers, of which 8 or 16 are added at once"""


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    from clearformer.engines.c.decoding import make_target_decoder

    config = TransformerConfig(vocab_size=8, context=8, d_model=8, num_heads=2, num_layers=1, d_ff=8)
    return make_target_decoder(Model(config, seed=1), np.array([[5]]), cached=True, max_length=4)


@pytest.mark.parametrize(("rows", "width", "columns"), SIZES)
def test_log_sums_and_maxima_are_those_worked_out_number_by_number(
    decoder: Decoder, rows: int, width: int, columns: int
):
    logits = np.random.default_rng(0).normal(scale=8, size=(rows, width)).astype(np.float32)
    maxima, log_sums = decoder.summarize(logits, columns)
    whole = width // columns * columns
    for row, z in enumerate(logits.astype(np.float64).tolist()):
        assert maxima[row].tolist() == [max(z[column:whole:columns]) for column in range(columns)]
        assert math.exp(log_sums[row] - math.log(math.fsum(map(math.exp, z)))) == pytest.approx(1, rel=TOLERANCE)


@pytest.mark.parametrize("where", [0, 63, 64, 99])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_makes_the_log_sum_of_its_row_so(decoder: Decoder, where: int, value: float):
    logits = np.zeros((2, 100), np.float32)
    logits[1, where] = value
    log_sums = decoder.summarize(logits, 64)[1]
    assert np.isfinite(log_sums).tolist() == [True, False]


def test_a_logit_of_minus_infinity_is_a_token_that_cannot_come(decoder: Decoder):
    logits = np.array([[0, -np.inf, 0, -np.inf]], np.float32)
    assert decoder.summarize(logits, 2)[1][0] == pytest.approx(math.log(2), rel=TOLERANCE)
