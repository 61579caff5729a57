"""Phases of curves drawn by hand."""

from clearformer.inspection.grokking.phases import Phases, phases

STEPS = [0, 10, 20, 40, 80]


def test_each_phase_ends_where_its_curve_is_first_below_a_tenth():
    found = phases(STEPS, [3.0, 0.09, 0.2, 0.0, 0.0], [3.0, 2.0, 1.0, 0.05, 0.0], [3.0, 5.0, 4.0, 0.1, 0.0999])
    assert found == Phases(memorised=10, formed=40, grokked=80)
    assert found.spans(0, 100) == {"memorisation": (0, 10), "circuit formation": (10, 40), "cleanup": (40, 80)}


def test_what_is_not_reached_is_none_and_the_phase_goes_on():
    found = phases(STEPS, [3.0, 0.05, 0.0, 0.0, 0.0], [3.0, 2.0, 1.0, 1.0, 1.0], [3.0, 5.0, 5.0, 5.0, 5.0])
    assert found == Phases(memorised=10, formed=None, grokked=None)
    assert found.spans(0, 80) == {"memorisation": (0, 10), "circuit formation": (10, 80)}
    assert phases(STEPS, [3.0] * 5, [3.0] * 5, [3.0] * 5).spans(0, 80) == {"memorisation": (0, 80)}


def test_without_a_restricted_loss_formation_lasts_until_the_model_generalises():
    found = phases(STEPS, [3.0, 0.05, 0.0, 0.0, 0.0], [None] * 5, [3.0, 5.0, 5.0, 5.0, 0.0])
    assert found == Phases(memorised=10, formed=None, grokked=80)
    assert found.spans(0, 100) == {"memorisation": (0, 10), "circuit formation": (10, 80)}


def test_a_model_that_generalises_while_it_memorises_has_no_later_phase():
    assert Phases(memorised=20, formed=10, grokked=20).spans(0, 40) == {"memorisation": (0, 20)}
    assert Phases(memorised=10, formed=40, grokked=20).spans(0, 40) == {
        "memorisation": (0, 10),
        "circuit formation": (10, 20),
    }
