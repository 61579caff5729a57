"""Operations modulo a prime, written as additions on a circle."""

import re

import pytest
import torch

from clearformer.data.modular import OPERATIONS
from clearformer.errors import InspectionError
from clearformer.inspection.grokking.cycles import CYCLIC, cycle, powers


@pytest.mark.parametrize("p", [3, 13, 113])
def test_powers_are_those_of_one_root_and_pass_every_number_but_zero(p: int):
    found = powers(p).tolist()
    assert found == [pow(found[1], exponent, p) for exponent in range(p - 1)]
    assert sorted(found) == list(range(1, p))


def test_the_smallest_roots_are_those_of_the_tables():
    # A001918 of the On-Line Encyclopedia of Integer Sequences, for the primes 5 to 41
    primes = (5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    assert [int(powers(p)[1]) for p in primes] == [2, 3, 2, 2, 3, 2, 5, 2, 3, 2, 6]


@pytest.mark.parametrize("operation", CYCLIC)
def test_the_answer_stands_at_the_sum_of_places(operation: str):
    p = 13
    circle = cycle(operation, p)
    n = len(circle)
    assert n == (p if operation in ("add", "subtract") else p - 1)
    for i, a in enumerate(circle.first.tolist()):
        for j, b in enumerate(circle.second.tolist()):
            assert int(circle.first[(i + j) % n]) == OPERATIONS[operation][1](a, b, p)


def test_pairs_and_logits_are_those_of_the_numbers_at_the_places():
    circle, p = cycle("divide", 5), 5
    logits = torch.arange(p**3, dtype=torch.float64).view(p, p, p)
    i, j, k = 1, 3, 2
    a, b, c = int(circle.first[i]), int(circle.second[j]), int(circle.first[k])
    assert circle.logits(logits)[i, j, k] == logits[a, b, c]
    assert circle.pairs(logits[..., 0])[i, j] == logits[a, b, 0]


def test_a_quadratic_form_is_refused_by_name():
    words = "(add, subtract, multiply, divide), found 'quadratic': there the answer is not the sum of a place"
    with pytest.raises(InspectionError, match=re.escape(words)):
        cycle("quadratic", 13)


@pytest.mark.parametrize("p", [9, 15])
def test_a_modulus_that_is_no_prime_has_no_circle_of_products(p: int):
    with pytest.raises(InspectionError, match=f"a prime was expected as modulus, found {p}"):
        cycle("multiply", p)
