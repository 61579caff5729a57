"""`python tests/mutants/table.py` runs the default checks on all mutants and writes docs/mutants.md."""

import textwrap
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from equivalent import EQUIVALENT
from planted.mutant import Mutant

from clearformer.checks.check import Result
from clearformer.checks.explain.roots import link, roots
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.outcome import Outcome
from mutants import GROUPS, MUTANTS, STYLES, subject

PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"
INTRODUCTION = """# Planted bugs, and what catches them

Written by `python tests/mutants/table.py`; do not edit it by hand.

Each line is a bug, planted by a small patch in a correct model: `tests/mutants/planted` has the patches,
`tests/mutants/styles` the models. The named check is the one that says what is wrong; the number is what it measured,
and behind it what it tolerates. "Starts with" is the first line of the report, where that is another check; "also"
lists the other failures, those that were folded under the first in brackets.

All default checks ran on each mutant. Of the bugs known from real libraries one has no mutant, training that repeats or
skips data when it is resumed: it lies in a loop, not in a model, and the tests of runs look for it.
"""
Found = tuple[list[Result], Outcome]


def results_of(mutant: Mutant) -> Found:
    """Of all default checks; and of the named one, which may be a training that is not run for a known reason."""
    torch.set_num_threads(1)
    planted = subject(mutant.style, mutant.old, mutant.new)
    results = list(run_checks(planted, choose()))
    named = next(result.outcome for result in results if result.id == mutant.check)
    if named.status == "not run":
        (named,) = (result.outcome for result in run_checks(planted, choose(only=[mutant.check])))
    return results, named


def answer(result: Result) -> str:
    return f"{result.id}:{result.outcome.cause or result.outcome.status}"


def starts_right(mutant: Mutant, results: list[Result]) -> bool:
    """Whether the first line of the report names the planted cause."""
    first = next(iter(roots(link(results))), None)
    wanted = mutant.first or f"{mutant.check}:{mutant.cause}"
    return first is not None and (answer(first) == wanted or (wanted.endswith(":") and first.id == mutant.check))


def line(mutant: Mutant, results: list[Result], named: Outcome) -> str:
    linked = link(results)
    first, *beside = [*roots(linked), None]
    others = [other.id for other in beside if other is not None and other.id != mutant.check]
    folded = [result.id for result in linked if result.follows and result.id != mutant.check]
    others += [f"({', '.join(folded)})"] if folded else []
    found = f"{mutant.check}: {named.cause or named.status}"
    number = "" if named.measured is None else f"{named.measured:.2g} > {named.tolerance:.2g}"
    start = "" if first is None or first.id == mutant.check else answer(first).replace(":", ": ")
    return f"| {mutant.id} | {mutant.style} | {found} | {number} | {start} | {', '.join(others)} |"


def write(found_by: list[Found]) -> None:
    """The page, of the results of each of MUTANTS."""
    pairs = [(mutant, results) for mutant, (results, _) in zip(MUTANTS, found_by, strict=True)]
    named = sum(outcome.status == "failed" for _, outcome in found_by)
    first = sum(starts_right(mutant, found) for mutant, found in pairs)
    alone = sum(len(roots(link(found))) == 1 for _, found in pairs)
    caught = sum(any(one.is_problem for one in found) for _, found in pairs)
    counts = (
        f"{len(MUTANTS)} mutants of {len(STYLES)} models, for {len({mutant.check for mutant in MUTANTS})} checks. "
        f"Caught: {caught}; by the check that names the bug: {named}; the report's first line names the planted cause: "
        f"{first}; it is the only one that nothing else explains: {alone}. On average "
        f"{sum(one.is_problem for _, found in pairs for one in found) / len(pairs):.1f} checks saw a mutant.\n"
    )
    lines = [INTRODUCTION, *textwrap.wrap(counts, 120), ""]
    for group in GROUPS:
        lines += [f"## {group.__name__.rpartition('.')[2]}\n", f"{group.__doc__}\n"]
        lines += ["| mutant | model | named check: cause | measured | starts with | also |", f"|{' --- |' * 6}"]
        lines += [
            line(mutant, *found)
            for mutant, found in zip(MUTANTS, found_by, strict=True)
            if mutant.check in group.PLANTED
        ]
        lines.append("")
    lines += ["## Patches that are no bugs\n", "The tests compare their outputs with the unpatched model's.\n"]
    lines += [f"- **{patch.id}** ({patch.style}). {patch.proof}" for patch in EQUIVALENT]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    with ProcessPoolExecutor() as pool:
        write(list(pool.map(results_of, MUTANTS)))


if __name__ == "__main__":
    main()
