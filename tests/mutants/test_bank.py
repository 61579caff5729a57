"""The bank of bugs and right models that are given to the checks bare: every entry is what it says.

The whole bank takes half an hour: `python tests/mutants/run_bank.py`. Here a few of those run that it found right.
"""

import hashlib
import json
from collections import Counter
from typing import Any

import bank
import pytest
from bare.bug import Bug, is_held_out
from bare.older import AGAINST_A_DECLARATION, BESIDE_THE_MODEL, OLDER
from run_bank import check_right, check_source

from mutants import MUTANTS

NEW = (*bank.bugs_in("bare"), *bank.bugs_in("held_out"))
MEASURED = bank.RESULTS.exists()
TABLE: dict[str, Any] = json.loads(bank.RESULTS.read_text(encoding="utf-8")) if MEASURED else {"bugs": {}, "right": {}}
needs_table = pytest.mark.skipif(not MEASURED, reason="the bank has not been run: python tests/mutants/run_bank.py")
BUGS_TO_RUN, FAMILIES_TO_RUN = 8, 4
"""three seconds of the processor each"""


def by_hash(names: list[str]) -> list[str]:
    """In an order that says nothing of the names."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def bugs_to_run() -> list[Bug]:
    """Of so many topics one bug each, of those whose first line is right in the table."""
    known = {name for name, found in TABLE["bugs"].items() if found["first_right"]}
    of_topic = {bug.topic: bug for name, bug in bank.open_bugs().items() if name in known}
    return [of_topic[topic] for topic in by_hash(list(of_topic))[:BUGS_TO_RUN]]


def right_models_to_run() -> list[str]:
    """Of so many families one model each, of those of which nothing is said in the table."""
    fine = [name for name, found in TABLE["right"].items() if not found["problems"] and "refused" not in found]
    of_family = {name.partition(":")[0]: name for name in by_hash(fine)}
    return [of_family[family] for family in by_hash(list(of_family))[:FAMILIES_TO_RUN]]


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


@needs_table
def test_table_has_a_result_of_every_bug_and_style():
    assert TABLE["bugs"].keys() == bank.open_bugs().keys()
    assert TABLE["styles"].keys() == set(bank.STYLES)


@needs_table
@pytest.mark.slow  # imports the libraries
@pytest.mark.filterwarnings("ignore")  # of theirs, whichever test imports them first
def test_table_has_a_result_of_every_right_model():
    assert TABLE["right"].keys() == bank.right_models().keys()


@pytest.mark.parametrize("style", bank.STYLES)
def test_style_gives_a_model(style: str):
    with bank.model_of(bank.source(style)) as model:
        assert sum(weight.numel() for weight in model.parameters()) > 1000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the libraries, about settings that are meant to be small
@pytest.mark.parametrize("family", bank.right_families())
def test_right_models_are_made(family: str):
    for name, make in bank.right_models().items():
        if name.startswith(f"{family}:"):
            assert sum(weight.numel() for weight in make().parameters()) > 1000, name


@pytest.mark.slow
@pytest.mark.parametrize("bug", bugs_to_run(), ids=lambda bug: bug.id)
def test_first_line_of_the_bare_command_names_the_bug(bug: Bug):
    found = check_source(bank.patched(bug))
    assert found["problems"]
    assert bank.is_right(bug, found["first"]), found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("name", right_models_to_run())
def test_nothing_is_said_of_a_right_model(name: str):
    found = check_right(name)
    assert "refused" not in found
    assert not found["problems"]
