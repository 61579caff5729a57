"""A check, its result, and how one is run without leaving a trace on the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from clearformer.checks.load.errors import what_happened
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, NotFinite, Outcome, failed
from clearformer.checks.subject import Kind
from clearformer.checks.weights import borrowed, stir

ALL: tuple[Kind, ...] = ("causal", "bidirectional", "encoder-decoder", "classifier")


@dataclass(frozen=True)
class Check:
    """A claim about a model, and the function that tries to refute it."""

    claim: str
    run: Callable[[Any], Outcome]
    """on a Probe; a check of a single part is on what `parts` made of it"""
    kinds: tuple[Kind, ...] = ALL
    needs: tuple[str, ...] = ()
    """fields of Subject without which it cannot run"""
    stirred: bool = True
    """on weights of random values (`weights.stir`), since initial ones hide much; False: on those given"""
    slow_from: float = math.inf
    """takes minutes on models of so many parameters, so that it has to be asked for"""


@dataclass(frozen=True)
class Result:
    """A check and what it said."""

    id: str
    check: Check
    outcome: Outcome
    seconds: float


def refute(check: Check, model: Any, probe: Callable[[], Any], seed: int) -> Outcome:
    """Run a check on what `probe` makes of the model, which is as it was afterwards."""
    try:
        with borrowed(model), torch.no_grad():
            torch.manual_seed(seed)
            if isinstance(model, torch.nn.Module):
                model.eval()
            if check.stirred:
                stir(model, seed)
            outcome = check.run(probe())
    except DoesNotApply as reason:
        return Outcome("does not apply", case=str(reason))
    except ModelCrashed as crash:
        return Outcome("crashed", case=str(crash))
    except NotFinite:
        return not_finite(0.0)
    except (Exception, SystemExit) as error:  # such as two outputs that cannot be compared, or a model that leaves
        return Outcome("crashed", case=f"the check could not go on: {what_happened(error)}")
    if outcome.status == "passed" and not outcome.measured <= outcome.tolerance:  # type: ignore[operator]  # both are set
        return not_finite(outcome.tolerance or 0.0)
    return outcome


def not_finite(tolerance: float) -> Outcome:
    means = "NaN or infinity in the logits of random tokens: see what numbers.finite says of it first."
    return failed("not-finite", float("inf"), tolerance, case="the output is not finite", means=means)
