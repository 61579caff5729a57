"""Check a model from Python, in a test of the user's own above all."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from clearformer.checks.check import Result
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.outcome import Outcome
from clearformer.checks.recognise import recognise
from clearformer.checks.report.text import failures, summary, wrong
from clearformer.checks.subject import Kind


def check_model(
    model: Any,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    slow: bool = False,
    seed: int = 1,
    kind: Kind | None = None,
    began: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """The results of all checks, or of those that `only` and `skip` leave, on a model or a Subject.

    A pattern is an id, a group's name, or has * in it. `kind` is needed where it cannot be seen. `began` is told the id
    of each check before it runs. Afterwards the model is as before.
    Raises ClearformerError for a pattern that matches nothing, and for a model that nobody can tell how to call.
    """
    subject = recognise(model, kind=kind)
    parameters = subject.model.parameters() if isinstance(subject.model, nn.Module) else ()
    chosen = choose(only, skip, slow, size=sum(weight.numel() for weight in parameters))
    results = list(run_checks(subject, chosen, seed, began))
    left = {name: check for name, check in choose(only, skip, slow=True).items() if name not in chosen}
    asking = "it takes minutes on a model of this size; ask for it with --slow or --only {}"
    return results + [Result(name, left[name], Outcome("not run", case=asking.format(name)), 0.0) for name in left]


def assert_sound(
    model: Any,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    slow: bool = False,
    seed: int = 1,
    kind: Kind | None = None,
) -> None:
    """Raise AssertionError, with the report of what is wrong, unless every check that applies has passed.

    One must apply: a test that checks nothing should not pass. See `check_model` for the arguments.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test
    results = check_model(model, only=only, skip=skip, slow=slow, seed=seed, kind=kind)
    if wrong(results):
        raise AssertionError(f"{summary(results)}\n\n{failures(results)}")
    if not any(result.outcome.status == "passed" for result in results):
        raise AssertionError("nothing was checked:\n" + "\n".join(f"{one.id}: {one.outcome.case}" for one in results))
