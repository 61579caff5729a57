"""`python tests/mutants/table.py` runs the default checks on all mutants and writes docs/mutants.md."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from equivalent import EQUIVALENT
from planted.mutant import Mutant

from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.outcome import Outcome
from mutants import GROUPS, MUTANTS, STYLES, subject

PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"
INTRODUCTION = """# Planted bugs, and what catches them

Written by `python tests/mutants/table.py`; do not edit it by hand.

Each line is a bug, planted by a small patch in a correct model: `tests/mutants/planted` has the patches,
`tests/mutants/styles` the models. The named check is the one that says what is wrong; "also" lists the others that
failed or crashed. The number is what the named check measured, and behind it what it tolerates.

All default checks ran on each mutant. The three that train a copy, and take a minute where it cannot learn, ran only on
the mutants that they name. Of the bugs known from real libraries one has no mutant, training that repeats or skips data
when it is resumed: it lies in a loop, not in a model, and the tests of runs look for it.
"""
MISSED = Outcome("passed")
TRAINING = ("learning.one-batch", "learning.reversing", "learning.induction")


def caught_by(mutant: Mutant) -> dict[str, Outcome]:
    """What failed or crashed, by the check's id."""
    torch.set_num_threads(1)
    checks = choose(skip=TRAINING) | choose(only=[mutant.check])
    results = run_checks(subject(mutant.style, mutant.old, mutant.new), checks)
    return {result.id: result.outcome for result in results if result.outcome.status in ("failed", "crashed")}


def line(mutant: Mutant, caught: dict[str, Outcome]) -> str:
    named = caught.get(mutant.check, MISSED)
    others = ", ".join(
        f"{name} (crashed)" if outcome.status == "crashed" else name
        for name, outcome in caught.items()
        if name != mutant.check
    )
    found = f"{mutant.check}: {named.cause or named.status}"
    number = "" if named.measured is None else f"{named.measured:.2g} > {named.tolerance:.2g}"
    return f"| {mutant.id} | {mutant.style} | {found} | {number} | {others} |"


def main() -> None:
    with ProcessPoolExecutor() as pool:
        caught = list(pool.map(caught_by, MUTANTS))
    named = sum(
        found.get(mutant.check, MISSED).status == "failed" for mutant, found in zip(MUTANTS, caught, strict=True)
    )
    checks = len({mutant.check for mutant in MUTANTS})
    counts = (
        f"{len(MUTANTS)} mutants of {len(STYLES)} models, for {checks} checks. "
        f"Caught: {sum(map(bool, caught))}; by the check that names the bug: {named}. "
        f"On average {sum(map(len, caught)) / len(caught):.1f} checks saw a mutant.\n"
    )
    lines = [INTRODUCTION, counts]
    for group in GROUPS:
        lines += [f"## {group.__name__.rpartition('.')[2]}\n", f"{group.__doc__}\n"]
        lines += ["| mutant | model | named check: cause | measured | also |", "| --- | --- | --- | --- | --- |"]
        lines += [
            line(mutant, found) for mutant, found in zip(MUTANTS, caught, strict=True) if mutant.check in group.PLANTED
        ]
        lines.append("")
    lines += ["## Patches that are no bugs\n", "The tests compare their outputs with the unpatched model's.\n"]
    lines += [f"- **{patch.id}** ({patch.style}). {patch.proof}" for patch in EQUIVALENT]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
