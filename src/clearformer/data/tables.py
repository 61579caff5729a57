"""The user's labelled texts: a table as CSV or TSV, with a header or without.

Which column is the label is told by the header, else by how few values it has; `read_labelled` says what it took.
"""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

from clearformer.data.corpora import Example, LabelledCorpus, Split
from clearformer.data.files import read_text
from clearformer.errors import DataError

LABEL_NAMES = ("label", "class", "category", "target", "sentiment", "y")
"""what a header may call the label's column, in any case; the first of these that occurs is it"""
MOST_CLASSES = 1000
MOST_NAMED = 5
"""so many classes are named to people"""

Row = tuple[int, list[str]]
"""the line that a row begins in, from 1 on, and its cells"""


def read_labelled(path: Path) -> tuple[list[Example], str]:
    """The examples in a .csv or .tsv (or .gz of one), and a sentence for people: what each column was taken for.

    Cells lose the white space around them. The first line is a header if it has one of LABEL_NAMES, or if its label
    occurs nowhere else. Raises DataError as `read_rows` does, for an empty text or label, and where there is no column
    of labels or of text, one class alone, or more than MOST_CLASSES.
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
    names = [f"column {place + 1}" + (f" {cell!r}" if header else "") for place, cell in enumerate(rows[0][1])]
    rows = rows[header:]
    left_out = _left_out(rows, [place for place in range(len(names)) if place != label])
    texts = [place for place in range(len(names)) if place != label and place not in left_out]
    for line, cells in rows:
        if empty := [names[place] for place in (*texts, label) if not cells[place]]:
            raise DataError(
                f"line {line} of {path} must have something in {empty[0]}, found nothing; mend or delete it"
            )
    examples = [(tuple(cells[place] for place in texts), cells[label]) for _, cells in rows]
    first_line = "a header" if header else "an example"
    classes = _classes(examples, names[label], path, first_line)
    note = (
        f"{path.name} has {len(examples):,} examples of {classes}: the label is {names[label]}, the text "
        f"{' and '.join(names[place] for place in texts)}, the first line {first_line}"
    )
    return examples, note + "".join(f", and {names[n]} ({reason}) is left out" for n, reason in left_out.items())


def _classes(examples: list[Example], column: str, path: Path, first_line: str) -> str:
    """How many classes there are, with the first of their names. Raises DataError for one, or too many."""
    classes = sorted({name for _, name in examples})
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise DataError(
            f"2 to {MOST_CLASSES:,} classes were expected in {column} of {path}, found {len(classes):,}"
            f"{f', {classes[0]!r} alone' if len(classes) == 1 else ''} (the first line was taken for {first_line}); "
            "give it labels that tell the texts apart"
        )
    return f"{len(classes):,} classes ({', '.join(classes[:MOST_NAMED])}{', …' * (len(classes) > MOST_NAMED)})"


def read_rows(path: Path) -> list[Row]:
    """The rows of a table; cells in double quotes may hold separators, line ends and doubled quotes.

    Raises DataError as `read_text` does, and where quotes are broken, a line is empty (but for the last ones), or a row
    has not as many cells as the first.
    """
    text = read_text(path).rstrip("\n")
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # else a cell has at most 131,072 characters
    delimiter = "\t" if path.name.removesuffix(".gz").endswith(".tsv") else ","
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
                    "mend or delete it (a cell that holds the separator needs double quotes around it)"
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
    """About 90, 5 and 5 % of each class's texts to train, validate and test with, in the order they came in.

    A hash of the text decides, so a text that comes twice stays together, even under two labels. Of a class of at
    least 3 texts every split has at least one; a smaller class is trained on whole. Raises DataError where no class
    has three.
    """
    label_of = dict(reversed(examples))  # of a text with two labels the first
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
            f"in {len(by_class):,} classes; bring more examples"
        )
    trained = {label for texts, label in examples if texts not in split_of}
    for texts, label in examples:  # a label that only texts of two labels have
        if label not in trained:
            split_of.pop(texts, None)
    splits: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for example in examples:
        splits[split_of.get(example[0], "train")].append(example)
    return LabelledCorpus(name, *splits.values(), note=note)


def is_labelled(path: Path) -> bool:
    """Whether a .tsv holds labelled texts rather than pairs, which are two columns of like many values.

    Two columns are so if a header names a label, or if one has at most a twentieth as many values as the other, and at
    most 100: targets of pairs may come again too.
    """
    try:
        rows = [cells for _, cells in read_rows(path)]
    except DataError:  # whoever reads it as pairs will say what is wrong
        return False
    if len(rows[0]) != 2:
        return len(rows[0]) > 2
    header = {cell.casefold() for cell in rows[0]}
    if header != {"source", "target"} and not header.isdisjoint(LABEL_NAMES):
        return True
    fewer, more = sorted(len(set(column)) for column in zip(*rows, strict=True))
    return fewer <= 100 and 20 * fewer <= more


def label_column(rows: Sequence[Sequence[str]]) -> int | None:
    """The place of the column that a header calls a label; else of that with the fewest distinct values.

    These must be fewer than half the rows, and at most MOST_CLASSES; a column of one value is the last to be taken.
    """
    named = [cell.casefold() for cell in rows[0]]
    for name in LABEL_NAMES:
        if name in named:
            return named.index(name)
    counts = [len(set(column)) for column in zip(*rows[1:], strict=True)]  # the first line may be a header
    likely = [place for place, count in enumerate(counts) if 2 * count < len(rows) - 1 and count <= MOST_CLASSES]
    return min(likely, key=lambda place: (counts[place] == 1, counts[place]), default=None)


def _left_out(rows: Sequence[Row], places: Sequence[int]) -> dict[int, str]:
    """The columns among `places` that are no text, and why. None is left out where otherwise all were."""
    reasons = {place: _no_text([cells[place] for _, cells in rows]) for place in places}
    return {place: reason for place, reason in reasons.items() if reason} if "" in reasons.values() else {}


def _no_text(column: Sequence[str]) -> str:
    """Why a column is not text, in words; nothing if it is."""
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
