"""A check, its result, and how it runs without leaving a trace on the model."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, NotFinite, Outcome, failed
from clearformer.checks.subject import Kind
from clearformer.checks.weights import as_written, preserve_state, randomise_weights

ALL_KINDS: tuple[Kind, ...] = ("causal", "bidirectional", "encoder-decoder", "classifier")


@dataclass(frozen=True)
class Check:
    """A claim about a model, and the function that tries to refute it."""

    claim: str
    run: Callable[[Any], Outcome]
    """takes a Probe; a check of a single part takes a PartProbe"""
    kinds: tuple[Kind, ...] = ALL_KINDS
    needs: tuple[str, ...] = ()
    """fields of Subject without which it cannot run"""
    random_weights: bool = True
    """run with random weights (`weights.randomise_weights`), since initial ones hide bugs; False: with its own"""
    slow_from: float = math.inf
    """number of parameters from which it takes minutes, so that it must be requested"""


@dataclass(frozen=True)
class Result:
    """A check and its outcome."""

    id: str
    check: Check
    outcome: Outcome
    seconds: float
    follows: str = ""
    """the id of the failure that explains this one"""

    @property
    def is_problem(self) -> bool:
        return self.outcome.status in ("failed", "crashed")


def run_isolated(check: Check, model: Any, make_probe: Callable[[], Any], seed: int) -> Outcome:
    """Run a check on what `make_probe` returns, in evaluation mode and without gradients; then restore the model.

    Whatever the model raises becomes an outcome; only KeyboardInterrupt passes through.
    """
    try:
        with preserve_state(model), as_written(), torch.no_grad():
            torch.manual_seed(seed)
            if isinstance(model, torch.nn.Module):
                model.eval()
            if check.random_weights:
                randomise_weights(model, seed)
            outcome = check.run(make_probe())
    except DoesNotApply as reason:
        return Outcome("does not apply", case=str(reason))
    except ModelCrashed as crash:
        return Outcome("crashed", case=str(crash))
    except NotFinite:
        return _not_finite(0.0)
    except (Exception, SystemExit) as error:  # such as outputs that cannot be compared, or a model that calls exit()
        return Outcome("crashed", case=f"the check could not go on: {describe_error(error)}")
    if outcome.status == "passed" and not outcome.measured <= outcome.tolerance:  # type: ignore[operator]  # both are set
        return _not_finite(outcome.tolerance or 0.0)  # a NaN is not at most the tolerance
    return outcome


def _not_finite(tolerance: float) -> Outcome:
    diagnosis = "The logits of random tokens hold NaN or infinity: see numbers.finite first."
    return failed("logits-not-finite", math.inf, tolerance, case="the output is not finite", diagnosis=diagnosis)
