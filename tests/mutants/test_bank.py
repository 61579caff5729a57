"""The bank of bugs and right models that are given to the checks bare: every entry is what it says."""

from collections import Counter

import bank
import pytest
from bare.bug import Bug, is_held_out
from bare.older import AGAINST_A_DECLARATION, BESIDE_THE_MODEL, OLDER

from mutants import MUTANTS

NEW = (*bank.bugs_in("bare"), *bank.bugs_in("held_out"))


@pytest.mark.parametrize("bug", NEW, ids=lambda bug: bug.id)
def test_patch_fits_in_one_place_and_leaves_a_program(bug: Bug):
    assert bank.source(bug.style).count(bug.old) == 1
    assert bug.new != bug.old
    compile(bank.patched(bug), bug.style, "exec")


@pytest.mark.parametrize("bug", NEW, ids=lambda bug: bug.id)
def test_bug_says_what_is_wrong_and_which_answers_are_true(bug: Bug):
    assert len(bug.truth.split()) > 4
    assert bug.first


def test_no_two_bugs_have_one_name_or_one_patch():
    bugs = (*OLDER, *NEW)
    assert max(Counter(bug.id for bug in bugs).values()) == 1
    assert max(Counter((bug.style, bug.old, bug.new) for bug in bugs).values()) == 1


def test_hash_of_the_name_alone_decides_what_is_held_out():
    assert not [bug.id for bug in bank.bugs_in("bare") if is_held_out(bug.id)]
    assert not [bug.id for bug in bank.bugs_in("held_out") if not is_held_out(bug.id)]


def test_older_bugs_that_are_left_out_exist():
    assert {mutant.id for mutant in MUTANTS} >= BESIDE_THE_MODEL | AGAINST_A_DECLARATION


@pytest.mark.parametrize("style", bank.STYLES)
def test_style_gives_a_model(style: str):
    with bank.model_of(bank.source(style)) as model:
        assert sum(weight.numel() for weight in model.parameters()) > 1000
