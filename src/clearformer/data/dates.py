"""A generated task: English dates as people write them, to ISO 8601 (`5 March 2018` -> `2018-03-05`).

It takes transcription and alignment, not calendar arithmetic: every part of the target is somewhere in the source, so
cross-attention shows where the model looks.
"""

from collections.abc import Callable
from datetime import date

import numpy as np

from clearformer.data.corpora import Pair, PairCorpus
from clearformer.data.tasks import Sizes, partition

FIRST, LAST = date(1900, 1, 1), date(2099, 12, 31)

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
    *("nineteenth", "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth"),
    *("twenty-sixth", "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first"),
)


# Names come from the tables above, since strftime depends on the locale.
def _month(day: date) -> str:
    return MONTHS[day.month - 1]


def _mon(day: date) -> str:
    return _month(day)[:3]


def _mon_dot(day: date) -> str:
    return _mon(day) if day.month == 5 else f"{_mon(day)}."  # May is not abbreviated


def _weekday(day: date) -> str:
    return WEEKDAYS[day.weekday()]


def _nth(day: date) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th") if day.day not in (11, 12, 13) else "th"
    return f"{day.day}{ending}"


def _ordinal(day: date) -> str:
    return ORDINALS[day.day - 1]


def _roman(day: date) -> str:
    return ROMAN[day.month - 1]


FORMS: dict[str, Callable[[date], str]] = {
    # digits only; day before month, unless the year comes first
    "iso": lambda d: d.isoformat(),
    "compact": lambda d: f"{d.year}{d.month:02}{d.day:02}",
    "year slashes": lambda d: f"{d.year}/{d.month:02}/{d.day:02}",
    "year dots": lambda d: f"{d.year}.{d.month:02}.{d.day:02}",
    "dots": lambda d: f"{d.day}.{d.month}.{d.year}",
    "dots padded": lambda d: f"{d.day:02}.{d.month:02}.{d.year}",
    "slashes": lambda d: f"{d.day}/{d.month}/{d.year}",
    "slashes padded": lambda d: f"{d.day:02}/{d.month:02}/{d.year}",
    "hyphens": lambda d: f"{d.day}-{d.month}-{d.year}",
    "roman": lambda d: f"{d.day} {_roman(d)} {d.year}",
    "roman dots": lambda d: f"{d.day}.{_roman(d).lower()}.{d.year}",
    # with the month's name
    "day month": lambda d: f"{d.day} {_month(d)} {d.year}",
    "month day": lambda d: f"{_month(d)} {d.day}, {d.year}",
    "month day lower": lambda d: f"{_month(d).lower()} {d.day} {d.year}",
    "capitals": lambda d: f"{d.day} {_month(d).upper()} {d.year}",
    "year month day": lambda d: f"{d.year} {_month(d)} {d.day}",
    "mon day": lambda d: f"{_mon(d)} {d.day} {d.year}",
    "day-mon": lambda d: f"{d.day}-{_mon(d)}-{d.year}",
    "year-mon": lambda d: f"{d.year}-{_mon(d)}-{d.day:02}",
    "joined": lambda d: f"{d.day:02}{_mon(d).upper()}{d.year}",
    # with the day as an ordinal
    "nth month": lambda d: f"{_nth(d)} {_month(d)} {d.year}",
    "nth mon": lambda d: f"{_nth(d)} {_mon_dot(d)} {d.year}",
    "the nth of": lambda d: f"the {_nth(d)} of {_month(d)} {d.year}",
    "month nth": lambda d: f"{_month(d)} {_nth(d)}, {d.year}",
    "month the nth": lambda d: f"{_month(d)} the {_nth(d)}, {d.year}",
    "words": lambda d: f"the {_ordinal(d)} of {_month(d)}, {d.year}",
    "month words": lambda d: f"{_month(d)} {_ordinal(d)}, {d.year}",
    # with the correct day of the week
    "weekday day": lambda d: f"{_weekday(d)}, {d.day} {_month(d)} {d.year}",
    "weekday month": lambda d: f"{_weekday(d)}, {_month(d)} {d.day}, {d.year}",
    "weekday nth": lambda d: f"{_weekday(d)} the {_nth(d)} of {_month(d)}, {d.year}",
    "mail": lambda d: f"{_weekday(d)[:3]}, {d.day:02} {_mon(d)} {d.year}",
    "short lower": lambda d: f"{_weekday(d)[:3].lower()} {d.day} {_mon(d).lower()} {d.year}",
}
"""name of a form -> the function that writes a date in it; no string means two different dates"""


def dates(seed: int = 1, sizes: Sizes = (40_000, 500, 1_000)) -> PairCorpus:
    """Pairs of a date in one of FORMS and the same date in ISO 8601; `5/3/2018` is always the fifth of March.

    Every date from 1900 to 2099 occurs at most once, so no two splits share one. The forms take turns, so a split of at
    least `len(FORMS)` pairs has them all.

    Raises DataError for an empty split, or for more pairs than there are dates.
    """
    ordinals = np.random.default_rng(seed).permutation(np.arange(FIRST.toordinal(), LAST.toordinal() + 1))
    days = [date.fromordinal(ordinal) for ordinal in ordinals.tolist()]
    return PairCorpus("dates", *(_write(part) for part in partition(days, sizes)))


def _write(days: list[date]) -> list[Pair]:
    forms = list(FORMS.values())
    return [(forms[index % len(forms)](day), day.isoformat()) for index, day in enumerate(days)]
