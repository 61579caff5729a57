"""The documentation of each check, which is its docstring, for `--list`, `--explain` and docs/checks.md."""

import difflib
import inspect
import math
import sys

from clearformer.checks.check import ALL_KINDS, Check
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.parts.catalogue import PARTS
from clearformer.errors import ClearformerError

INTRODUCTION = """\
# What `clearformer check` checks

    clearformer check FILE.py:FUNCTION

FUNCTION takes no arguments and returns your model, or a `clearformer.checks.Subject` that says how to call it. Each
check below tries to refute one claim; [checking.md](checking.md) tells how a model gets from here to a report.

A difference between logits is given in units of their standard deviation. This page is generated from the docstrings of
the checks by `python docs/checks.py`; `clearformer check --explain ID` prints one of them.
"""
PARTS_INTRODUCTION = """\
# Single parts

    clearformer check FILE.py:FUNCTION --as PART

FUNCTION is the part, or takes no arguments and returns it: a function or a module. Where several conventions are right,
`clearformer.checks.PartSubject` declares one.
"""
PART_CHECKS = {name: check for part in PARTS.values() for name, check in part.checks.items()}


def page(name: str) -> str:
    """The page of one check. Raises ClearformerError if no check has that id."""
    checks = CHECKS | PART_CHECKS
    if name not in checks:
        near = difflib.get_close_matches(name, checks, n=1)
        hint = f"did you mean {near[0]}?" if near else "see: clearformer check --list"
        raise ClearformerError(f"the id of a check was expected, found {name!r}; {hint}")
    return f"{name}\n\n{_text(checks[name])}"


def listing() -> str:
    """One line per check, its id and claim; first checks of models, then those of parts."""
    width = max(map(len, CHECKS | PART_CHECKS))

    def lines(checks: dict[str, Check]) -> str:
        return "\n".join(
            f"{name:<{width}}  {check.claim}{' (of large models with --slow)' if check.slow_from < math.inf else ''}"
            for name, check in checks.items()
        )

    return f"{lines(CHECKS)}\n\nof single parts, with --as {', '.join(PARTS)}:\n{lines(PART_CHECKS)}"


def handbook() -> str:
    """docs/checks.md: all pages, group by group, in Markdown."""
    groups: dict[str, dict[str, Check]] = {}
    for name, check in CHECKS.items():
        groups.setdefault(name.split(".")[0], {})[name] = check
    models = [_group(name, next(iter(checks.values())).run.__module__, checks) for name, checks in groups.items()]
    parts = [_group(name, part.probe.__module__, part.checks) for name, part in PARTS.items()]
    return "\n".join([INTRODUCTION, *models, PARTS_INTRODUCTION, *parts])


def _group(name: str, module: str, checks: dict[str, Check]) -> str:
    """The module's docstring, and below it the pages of its checks."""
    pages = "\n".join(f"### {name}\n\n{_text(check)}\n" for name, check in checks.items())
    return f"## {name}\n\n{inspect.cleandoc(sys.modules[module].__doc__ or '')}\n\n{pages}"


def _text(check: Check) -> str:
    """The docstring, and what the check needs to run."""
    notes = []
    if check.kinds != ALL_KINDS:
        notes.append(f"For {' and '.join(check.kinds)} models.")
    if check.needs:
        notes.append(f"Needs {' and '.join(f'`{need}`' for need in check.needs)} of Subject.")
    if check.slow_from < math.inf:
        notes.append(f"On models of {check.slow_from / 1e6:.0f} million parameters or more it runs with `--slow`.")
    return "\n\n".join(filter(None, [inspect.getdoc(check.run), " ".join(notes)]))
