"""The user's labelled texts: a CSV or TSV, with or without a header.

The label's column is named by the header, or is the one with the fewest distinct values; `read_labelled` reports it.
"""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from clearformer.data.corpora import Example, LabelledCorpus, Split
from clearformer.data.files import read_text
from clearformer.data.pieces import plain_name
from clearformer.errors import DataError

LABEL_NAMES = ("label", "class", "category", "target", "sentiment", "y")
"""names of the label's column in a header, in any case; earlier ones take precedence"""
MAX_CLASSES = 1000
MAX_CLASSES_SHOWN = 5
"""number of classes listed by name"""

Row = tuple[int, list[str]]
"""the number of a row's first line, from 1 on, and its cells"""


def read_labelled(path: Path) -> tuple[list[Example], str]:
    """The examples in a .csv or .tsv (or a compressed one), and a note to the user on how its columns were read.

    White space around cells is stripped. The first line is a header if it has one of LABEL_NAMES, or if its label
    occurs nowhere else.

    Raises DataError as `read_rows` does, for an empty text or label, if there is no column of labels or of text, and
    unless there are 2 to MAX_CLASSES classes.
    """
    rows = read_rows(path)
    label = label_column([cells for _, cells in rows])
    if label is None or len(rows[0][1]) < 2:
        raise DataError(
            f"a column of texts and one of labels, whose values repeat, were expected in {path}, found {len(rows):,} "
            f"rows of {len(rows[0][1])} cells without the two; call the label's column {LABEL_NAMES[0]!r} in a first "
            "line (or the file .txt, if it is plain text)"
        )
    labels = [cells[label] for _, cells in rows]
    header = labels[0] not in labels[1:] or labels[0].casefold() in LABEL_NAMES
    names = [f"column {i + 1}" + (f" {cell!r}" if header else "") for i, cell in enumerate(rows[0][1])]
    rows = rows[header:]
    excluded = _excluded(rows, [i for i in range(len(names)) if i != label])
    texts = [i for i in range(len(names)) if i != label and i not in excluded]
    for line, cells in rows:
        if empty := [names[i] for i in (*texts, label) if not cells[i]]:
            raise DataError(f"line {line} of {path} must have something in {empty[0]}, found nothing; fix or delete it")
    examples = [(tuple(cells[i] for i in texts), cells[label]) for _, cells in rows]
    first_line = "a header" if header else "an example"
    classes = _classes(examples, names[label], path, first_line)
    note = (
        f"{path.name} has {len(examples):,} examples of {classes}: the label is {names[label]}, the text "
        f"{' and '.join(names[i] for i in texts)}, the first line {first_line}"
    )
    return examples, note + "".join(f", and {names[i]} ({reason}) is left out" for i, reason in excluded.items())


def _classes(examples: list[Example], column: str, path: Path, first_line: str) -> str:
    """The number of classes and the first of their names. Raises DataError for fewer than two, or too many."""
    classes = sorted({name for _, name in examples})
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(
            f"2 to {MAX_CLASSES:,} classes were expected in {column} of {path}, found {len(classes):,}"
            f"{f', {classes[0]!r} alone' if len(classes) == 1 else ''} (the first line was taken for {first_line}); "
            "give it one label for each class"
        )
    shown = ", ".join(classes[:MAX_CLASSES_SHOWN])
    return f"{len(classes):,} classes ({shown}{', …' if len(classes) > MAX_CLASSES_SHOWN else ''})"


def read_rows(path: Path) -> list[Row]:
    """The rows of a table; cells in double quotes may contain separators, line breaks and doubled quotes.

    Raises DataError as `read_text` does, for broken quotes, for an empty line (except at the end), and for a row with
    more or fewer cells than the first.
    """
    text = read_text(path).rstrip("\n")
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the default is 131,072 characters
    delimiter = "\t" if plain_name(path).endswith(".tsv") else ","
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    line = 1
    try:
        for cells in reader:
            if not cells:
                raise DataError(f"line {line} of {path} must be a row of cells, but it is empty; delete it")
            if rows and len(cells) != (width := len(rows[0][1])):
                raise DataError(
                    f"line {line} of {path} must have as many cells as line 1, which has {width}, found {len(cells)}; "
                    "fix or delete it (a cell that contains the separator needs double quotes around it)"
                )
            rows.append((line, [cell.strip() for cell in cells]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the row that begins in line {line} of {path} must be whole, but: {error}; close its double quotes, and "
            "double those that are part of a quoted text"
        ) from error
    return rows


def split_labelled(name: str, examples: list[Example], note: str = "") -> LabelledCorpus:
    """About 90, 5 and 5 % of each class's texts for train, validation and test, in their original order.

    A hash of the text decides, so duplicates stay together, even under two labels. Every split has at least one text of
    each class with 3 or more; smaller classes are only in train.

    Raises DataError if no class has 3 texts.
    """
    label_of = dict(reversed(examples))  # the first, if a text has several labels
    by_class: dict[str, list[tuple[str, ...]]] = {}
    for texts in sorted(label_of, key=lambda texts: hashlib.sha256(json.dumps(texts).encode()).digest()):
        by_class.setdefault(label_of[texts], []).append(texts)
    split_of: dict[tuple[str, ...], Split] = {}
    for members in by_class.values():
        held_out = max(1, round(len(members) / 20)) if len(members) >= 3 else 0
        split_of |= dict.fromkeys(members[:held_out], "validation")
        split_of |= dict.fromkeys(members[held_out : 2 * held_out], "test")
    if not split_of:
        raise DataError(
            f"{name} must have a class of at least 3 distinct texts, one for each split, found {len(label_of):,} texts "
            f"in {len(by_class):,} classes; give more examples"
        )
    train_labels = {label for texts, label in examples if texts not in split_of}
    for texts, label in examples:  # train needs every label, also one that only held-out texts with two labels have
        if label not in train_labels:
            split_of.pop(texts, None)
    splits: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for example in examples:
        splits[split_of.get(example[0], "train")].append(example)
    return LabelledCorpus(name, *splits.values(), note=note)


def is_labelled(path: Path) -> bool:
    """Whether a .tsv contains labelled texts rather than pairs.

    Two columns do if a header names a label, or if one has at most 100 distinct values and at most a twentieth as many
    as the other: targets of pairs may repeat, but not as often. More columns always do.
    """
    try:
        rows = [cells for _, cells in read_rows(path)]
    except DataError:  # reading it as pairs will report what is wrong
        return False
    if len(rows[0]) != 2:
        return len(rows[0]) > 2
    header = {cell.casefold() for cell in rows[0]}
    if header != {"source", "target"} and not header.isdisjoint(LABEL_NAMES):
        return True
    fewer, more = sorted(len(set(column)) for column in zip(*rows, strict=True))
    return fewer <= 100 and 20 * fewer <= more


def label_column(rows: Sequence[Sequence[str]]) -> int | None:
    """Index of the column that the header calls a label, else of the one with the fewest distinct values, if any.

    It must have fewer values than half the rows, and at most MAX_CLASSES. A constant column is the last choice.
    """
    named = [cell.casefold() for cell in rows[0]]
    for name in LABEL_NAMES:
        if name in named:
            return named.index(name)
    counts = [len(set(column)) for column in zip(*rows[1:], strict=True)]  # the first line may be a header
    candidates = [i for i, count in enumerate(counts) if 2 * count < len(rows) - 1 and count <= MAX_CLASSES]
    return min(candidates, key=lambda i: (counts[i] == 1, counts[i]), default=None)


def _excluded(rows: Sequence[Row], columns: Sequence[int]) -> dict[int, str]:
    """Which of the columns are not text, and why. If none is text, all are kept."""
    reasons = {i: _why_not_text([cells[i] for _, cells in rows]) for i in columns}
    return {i: reason for i, reason in reasons.items() if reason} if "" in reasons.values() else {}


def _why_not_text(column: Sequence[str]) -> str:
    """Why a column is not text; empty if it is."""
    filled = [cell for cell in column if cell]
    if all(map(_is_number, filled)):
        return "only numbers" if filled else "empty"
    if len(set(column)) == len(column) and not any(len(cell.split()) > 1 for cell in column):
        return "identifiers"
    return ""


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
