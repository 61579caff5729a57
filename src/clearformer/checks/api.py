"""Check a model from Python, above all in a test of your own."""

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from torch import nn

from clearformer.checks.check import Result
from clearformer.checks.explain.roots import link
from clearformer.checks.models.experiments import tell_apart
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.outcome import Outcome
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.given import Given, Way
from clearformer.checks.report.text import describe_problems, problems, summary
from clearformer.checks.subject import Kind


class Ways(TypedDict, total=False):
    """A subject in part: methods by their names, such as "model.step", or functions as in Subject, and numbers."""

    loss: Way
    step: Way
    generate: Way
    pad: int | None
    context: int | None


def check_model(
    model: Any,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    slow: bool = False,
    seed: int = 1,
    kind: Kind | None = None,
    on_start: Callable[[str], None] = lambda _: None,
    **given: Unpack[Ways],
) -> list[Result]:
    """Run all checks, or those that `only` and `skip` select, on a model or a Subject.

    A pattern is an id, a group's name, or has * in it. `kind` is needed where it cannot be recognised. What is `given`
    of a subject stands over what is found: `loss="model.compute_loss"`, `pad=0`. `on_start` is called with the id of
    each check before it runs. Afterwards the model is as before.
    Raises ClearformerError for a pattern that matches nothing, and for a model that cannot be recognised.
    """
    subject = recognise(model, kind=kind, given=Given(**given))
    parameters = subject.model.parameters() if isinstance(subject.model, nn.Module) else ()
    chosen = choose(only, skip, slow, size=sum(weight.numel() for weight in parameters))
    results = tell_apart(subject, link(list(run_checks(subject, chosen, seed, on_start))), seed)
    left_out = {name: check for name, check in choose(only, skip, slow=True).items() if name not in chosen}
    reason = "it takes minutes on a model of this size; ask for it with --slow or --only {}"
    return results + [
        Result(name, check, Outcome("not run", case=reason.format(name)), 0.0) for name, check in left_out.items()
    ]


def assert_sound(
    model: Any,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    slow: bool = False,
    seed: int = 1,
    kind: Kind | None = None,
    **given: Unpack[Ways],
) -> None:
    """Raise AssertionError with a diagnosis of each failure, unless every check that applies has passed.

    At least one must apply: a test that checks nothing should not pass. See `check_model` for the arguments.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    results = check_model(model, only=only, skip=skip, slow=slow, seed=seed, kind=kind, **given)
    if problems(results):
        raise AssertionError(f"{summary(results)}\n\n{describe_problems(results)}")
    if not any(result.outcome.status == "passed" for result in results):
        reasons = "\n".join(f"{result.id}: {result.outcome.case}" for result in results)
        raise AssertionError(f"nothing was checked:\n{reasons}")
