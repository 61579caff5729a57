"""Scores as text tables."""

from typing import Any

COLUMNS = ("untrained", "unigram", "majority")
SCORES = ("loss", "perplexity", "exact_match", "bleu", "bleu_lowercase", "accuracy", "macro_f1")


def print_scores(scores: dict[str, Any]) -> None:
    """The trained model's scores beside the baselines', and below them a classifier's confusion matrix."""
    baselines = [name for name in COLUMNS if name in scores]
    print(f"{'':<14}" + "".join(f"{name:>12}" for name in ("trained", *baselines)))
    for name in SCORES:
        if name in scores:
            values = (scores[name], *(scores[baseline][name] for baseline in baselines))
            print(f"{name:<14}" + "".join(f"{value:>12.4g}" for value in values))
    if "confusion" in scores:
        print("\n" + confusion_table(scores["confusion"], scores["classes"]))


def confusion_table(confusion: list[list[int]], classes: list[str]) -> str:
    """A row for each true class and a column for each predicted one, aligned."""
    rows = [["true \\ predicted", *classes]]
    rows += [[name, *(f"{count:,}" for count in counts)] for name, counts in zip(classes, confusion, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([f"{row[0]:<{widths[0]}}", *map(str.rjust, row[1:], widths[1:])] for row in rows)
    return "\n".join("  ".join(line) for line in lines)
