"""Every planted bug is caught by the check that names it, and the correct models pass all of them."""

import pytest
import torch
from equivalent import EQUIVALENT, Equivalent
from planted.mutant import Mutant

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.weights import randomise_weights
from mutants import MUTANTS, STYLES, source, subject

SAME = 1e-5
"""logits of size 1 in float32, summed in another order: 1.2e-6 seen"""


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_correct_model_passes_every_check_that_applies(style: str):
    results = list(run_checks(subject(style), choose(slow=True)))
    wrong = {result.id: result.outcome for result in results if result.outcome.status in ("failed", "crashed")}
    assert not wrong
    assert sum(result.outcome.status == "passed" for result in results) > len(results) / 3


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant_is_caught_by_the_check_that_names_it(mutant: Mutant):
    (result,) = run_checks(subject(mutant.style, mutant.old, mutant.new), choose(only=[mutant.check]))
    assert result.outcome.status == "failed", result.outcome
    assert mutant.cause in ("", result.outcome.cause)


def test_every_check_names_a_mutant():
    assert {mutant.check for mutant in MUTANTS} == set(CHECKS)


def test_every_check_applies_to_a_style():
    subjects = [subject(style) for style in STYLES]
    for name, check in CHECKS.items():
        fit = [one for one in subjects if one.kind in check.kinds]
        assert any(all(getattr(one, need) is not None for need in check.needs) for one in fit), name


@pytest.mark.parametrize("patch", [*MUTANTS, *EQUIVALENT], ids=lambda patch: patch.id)
def test_patch_fits_in_one_place_and_changes_it(patch: Mutant | Equivalent):
    assert source(patch.style).count(patch.old) == 1
    assert patch.new != patch.old


def test_no_two_mutants_have_one_name_or_one_patch():
    assert len({mutant.id for mutant in (*MUTANTS, *EQUIVALENT)}) == len(MUTANTS) + len(EQUIVALENT)
    assert len({(mutant.style, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("patch", EQUIVALENT, ids=lambda patch: patch.id)
def test_equivalent_patch_computes_the_same_function(patch: Equivalent):
    right, patched = subject(patch.style), subject(patch.style, patch.old, patch.new)
    randomise_weights(right.model, seed=1)
    patched.model.load_state_dict(patch.translate(right.model.state_dict()))
    right.model.eval()
    patched.model.eval()
    tokens = torch.randint(2, 23, (3, 12))
    real = torch.ones_like(tokens, dtype=torch.bool)
    if right.padded is not None:
        real[0, :5] = False
    inputs = Inputs(tokens, real=real if right.padded is not None else None)
    logits = [Probe(one, seed=1).logits(inputs)[real] for one in (right, patched)]
    torch.testing.assert_close(*logits, atol=SAME, rtol=SAME)
    assert logits[0].std() > 0.1
