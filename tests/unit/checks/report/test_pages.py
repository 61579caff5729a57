"""Each check has a page, and docs/checks.md contains all of them."""

import math
from pathlib import Path

import pytest

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.parts.catalogue import PARTS
from clearformer.checks.report.pages import PART_CHECKS, handbook, listing, page
from clearformer.errors import ClearformerError

COMMITTED = Path(__file__).parents[4] / "docs" / "checks.md"


def test_the_committed_page_is_up_to_date():
    assert COMMITTED.read_text(encoding="utf-8") == handbook(), "python docs/checks.py writes it anew"


def test_the_handbook_holds_every_check_once_under_its_group():
    lines = handbook().splitlines()
    assert [line[4:] for line in lines if line.startswith("### ")] == [*CHECKS, *PART_CHECKS]
    groups = [name.split(".")[0] for name in (*CHECKS, *PART_CHECKS)]
    assert [line[3:] for line in lines if line.startswith("## ")] == list(dict.fromkeys(groups))
    assert len(CHECKS | PART_CHECKS) == len(CHECKS) + len(PART_CHECKS)
    assert all(name.startswith(f"{part}.") for part in PARTS for name in PARTS[part].checks)


@pytest.mark.parametrize("name", CHECKS | PART_CHECKS)
def test_a_page_begins_with_the_claim_and_explains_it(name: str):
    head, empty, claim, *rest = page(name).splitlines()
    assert (head, empty) == (name, "")
    assert claim.endswith(".")
    assert len(" ".join(rest).split()) > 20
    if name in PART_CHECKS:
        assert rest.count("") >= 2  # paragraphs: why it matters, and what is measured


def test_a_page_names_the_kinds_of_models_and_the_required_fields():
    assert page("masks.future").endswith("\n\nFor causal and encoder-decoder models.")
    assert page("masks.empty-row").endswith("\n\nNeeds `padded` of Subject.")


def test_the_listing_marks_slow_checks():
    whole, parts = listing().split("\n\nof single parts, with --as ")
    assert [line.split()[0] for line in whole.splitlines()] == list(CHECKS)
    assert [line.split()[0] for line in parts.splitlines()[1:]] == list(PART_CHECKS)
    marked = [line.split()[0] for line in listing().splitlines() if line.endswith(" (of large models with --slow)")]
    assert marked == [name for name, check in CHECKS.items() if check.slow_from < math.inf]


def test_an_unknown_id_is_refused_with_a_suggestion():
    with pytest.raises(ClearformerError, match=r"found 'masks\.ftuure'; did you mean masks\.future\?"):
        page("masks.ftuure")
