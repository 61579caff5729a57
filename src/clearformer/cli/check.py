"""`clearformer check`"""

import contextlib
import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from clearformer.api.display import Display, say
from clearformer.checks.subject import Kind
from clearformer.cli.arguments import parse
from clearformer.cli.files import write_file
from clearformer.cli.findings import print_report
from clearformer.errors import ClearformerError

if TYPE_CHECKING:
    from clearformer.checks.report.formats import Report


@dataclass(frozen=True)
class Check:
    """Find silent bugs of any transformer: what is wrong, what that means and where to look.

    The exit code is 0 if all checks passed, 1 if one failed or the model crashed, 2 if nothing could be checked.
    """

    target: Positional[Annotated[str, arg(metavar="TARGET")]] = ""
    """FILE.py:FUNCTION or package.module:FUNCTION, where FUNCTION takes no arguments and returns the model (or a
    clearformer.checks.Subject, which says how to call it); or the folder of a run"""
    kind: Kind | None = None
    """the kind of model, if it is not recognized"""
    loss: str = ""
    """how the loss is computed, if it is not found: a method of the model, such as model.compute_loss, or
    FILE.py:FUNCTION, a function of the model, tokens and labels"""
    step: str = ""
    """the method that takes tokens and a cache, such as model.step; or FILE.py:FUNCTION"""
    generate: str = ""
    """the method that writes text, such as model.generate; or FILE.py:FUNCTION"""
    pad: int | None = None
    """the padding token, if it is not found"""
    context: int | None = None
    """the longest input in tokens, if it is not found"""
    as_: Annotated[str, arg(name="as", metavar="PART")] = ""
    """check a single part: attention, layer-norm, rms-norm, sinusoidal, rotary, feed-forward or mask. FUNCTION may then
    be the part itself"""
    only: tuple[str, ...] = ()
    """ids of checks, such as masks.future, or groups of them, such as masks"""
    skip: tuple[str, ...] = ()
    """ids or groups to leave out"""
    slow: bool = False
    """also run checks that take minutes on a large model"""
    seed: int = 1
    """of all random inputs and weights"""
    json: Annotated[bool, arg(name="json")] = False
    """print the report as one JSON object"""
    junit: Path | None = None
    """also write it to this file, as JUnit's XML"""
    markdown: Path | None = None
    """also write it to this file, to paste into an issue"""
    list: Annotated[bool, arg(name="list")] = False
    """list all checks and exit"""
    explain: str = ""
    """print the page of the check with this id and exit"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Check, arguments, "check")
    if options.list or options.explain:
        from clearformer.checks.report import pages

        print(pages.listing() if options.list else pages.page(options.explain))
        return 0
    if not options.target:
        raise ClearformerError(
            "FILE.py:FUNCTION was expected, a function that returns the model; see clearformer check --help"
        )
    with contextlib.redirect_stdout(sys.stderr):  # what the model prints is not part of the report
        report = _check_part(options) if options.as_ else _check(options)
    from clearformer.checks.report.formats import as_json, as_junit, as_markdown
    from clearformer.checks.report.text import problems

    if options.json:
        print(as_json(report), end="")
    else:
        print_report(report)
    if options.junit:
        write_file(options.junit, as_junit(report))
    if options.markdown:
        write_file(options.markdown, as_markdown(report))
    if not any(result.outcome.status in ("passed", "failed", "crashed") for result in report.results):
        raise ClearformerError(
            "a check that applies to this model was expected, but there is none; see the reasons above"
        )
    return 1 if problems(report.results) else 0


def _check(options: Check) -> "Report":
    from clearformer.checks.api import check_model
    from clearformer.checks.load.target import load_target, resolve_way
    from clearformer.checks.models.run import choose
    from clearformer.checks.recognise import recognise
    from clearformer.checks.recognise.given import Given
    from clearformer.checks.report.formats import Report

    names = list(choose(options.only, options.skip, options.slow))
    with load_target(options.target, say) as model, Display("checking", len(names)) as display:
        ways = {name: resolve_way(getattr(options, name)) for name in ("loss", "step", "generate")}
        given = Given(**ways, pad=options.pad, context=options.context)
        subject = recognise(model, kind=options.kind, given=given)
        results = check_model(
            subject,
            only=options.only,
            skip=options.skip,
            slow=options.slow,
            seed=options.seed,
            on_start=lambda name: display.show(names.index(name), name),
        )
        display.show(len(names))
    name = subject.name or type(subject.model).__name__
    return Report(name, subject.kind, options.seed, results, subject.ways)


def _check_part(options: Check) -> "Report":
    from clearformer.checks.load.target import load_target
    from clearformer.checks.parts.catalogue import PARTS
    from clearformer.checks.parts.run import run_part
    from clearformer.checks.report.formats import Report

    of_models = ("only", "skip", "slow", "kind", "loss", "step", "generate", "pad", "context")
    typed = [f"--{name}" for name in of_models if getattr(options, name) != getattr(Check, name)]
    if typed:
        raise ClearformerError(f"--as checks all of a part, and takes no {', '.join(typed)}; leave that out")
    if options.as_ not in PARTS:
        near = difflib.get_close_matches(options.as_, PARTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ClearformerError(f"one of {', '.join(PARTS)} was expected after --as, found {options.as_!r}{hint}")
    names = list(PARTS[options.as_].checks)
    with load_target(options.target, say, part=True) as target, Display("checking", len(names)) as display:
        running = run_part(options.as_, target, options.seed, lambda name: display.show(names.index(name), name))
        results = list(running)
        display.show(len(names))
    return Report(options.target.rpartition(":")[2], options.as_, options.seed, results)
