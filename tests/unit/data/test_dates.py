"""Dates are written correctly in every form, unambiguously, and each occurs once."""

from datetime import date, timedelta

import pytest

from clearformer.data.corpora import Pair, PairCorpus
from clearformer.data.dates import FORMS, ORDINALS, dates
from clearformer.errors import DataError

# Written out by hand: 5 March 2018, a Monday, and 31 December 1999, a Friday.
WRITTEN = {
    "iso": ("2018-03-05", "1999-12-31"),
    "compact": ("20180305", "19991231"),
    "year slashes": ("2018/03/05", "1999/12/31"),
    "year dots": ("2018.03.05", "1999.12.31"),
    "dots": ("5.3.2018", "31.12.1999"),
    "dots padded": ("05.03.2018", "31.12.1999"),
    "slashes": ("5/3/2018", "31/12/1999"),
    "slashes padded": ("05/03/2018", "31/12/1999"),
    "hyphens": ("5-3-2018", "31-12-1999"),
    "roman": ("5 III 2018", "31 XII 1999"),
    "roman dots": ("5.iii.2018", "31.xii.1999"),
    "day month": ("5 March 2018", "31 December 1999"),
    "month day": ("March 5, 2018", "December 31, 1999"),
    "month day lower": ("march 5 2018", "december 31 1999"),
    "capitals": ("5 MARCH 2018", "31 DECEMBER 1999"),
    "year month day": ("2018 March 5", "1999 December 31"),
    "mon day": ("Mar 5 2018", "Dec 31 1999"),
    "day-mon": ("5-Mar-2018", "31-Dec-1999"),
    "year-mon": ("2018-Mar-05", "1999-Dec-31"),
    "joined": ("05MAR2018", "31DEC1999"),
    "nth month": ("5th March 2018", "31st December 1999"),
    "nth mon": ("5th Mar. 2018", "31st Dec. 1999"),
    "the nth of": ("the 5th of March 2018", "the 31st of December 1999"),
    "month nth": ("March 5th, 2018", "December 31st, 1999"),
    "month the nth": ("March the 5th, 2018", "December the 31st, 1999"),
    "words": ("the fifth of March, 2018", "the thirty-first of December, 1999"),
    "month words": ("March fifth, 2018", "December thirty-first, 1999"),
    "weekday day": ("Monday, 5 March 2018", "Friday, 31 December 1999"),
    "weekday month": ("Monday, March 5, 2018", "Friday, December 31, 1999"),
    "weekday nth": ("Monday the 5th of March, 2018", "Friday the 31st of December, 1999"),
    "mail": ("Mon, 05 Mar 2018", "Fri, 31 Dec 1999"),
    "short lower": ("mon 5 mar 2018", "fri 31 dec 1999"),
}
# Years whose digits may be read as a day and a month, the first and last, a leap year and an ordinary one.
YEARS = (1900, 1910, 1912, 1999, 2000, 2001, 2010, 2011, 2012, 2018, 2020, 2099)


DAYS = [
    date(year, 1, 1) + timedelta(days=n)
    for year in YEARS
    for n in range((date(year + 1, 1, 1) - date(year, 1, 1)).days)
]


@pytest.fixture(scope="module")
def corpus() -> PairCorpus:
    return dates()


def pairs(corpus: PairCorpus) -> list[Pair]:
    return [*corpus.train, *corpus.validation, *corpus.test]


@pytest.mark.parametrize("form", sorted(FORMS.keys() | WRITTEN.keys()))
def test_every_form_writes_two_dates_as_written_by_hand(form: str):
    write = FORMS[form]
    assert (write(date(2018, 3, 5)), write(date(1999, 12, 31))) == WRITTEN[form]


def test_ordinal_numbers_end_like_the_spoken_words():
    # The ending is the last two letters of the spoken word: 1st, 2nd, 3rd, but 11th, 12th, 13th.
    for number, word in enumerate(ORDINALS, start=1):
        assert FORMS["nth month"](date(2020, 1, number)) == f"{number}{word[-2:]} January 2020"


def test_may_is_not_abbreviated_and_has_no_dot():
    assert FORMS["nth mon"](date(2018, 5, 2)) == "2nd May 2018"
    assert FORMS["nth mon"](date(2018, 9, 22)) == "22nd Sep. 2018"


def test_every_month_has_its_name_and_its_roman_number():
    months = [date(2018, month, 1) for month in range(1, 13)]
    assert " ".join(FORMS["roman"](day).split()[1] for day in months) == "I II III IV V VI VII VIII IX X XI XII"
    assert " ".join(FORMS["day month"](day).split()[1] for day in months) == (
        "January February March April May June July August September October November December"
    )


def test_weekdays_count_from_a_known_saturday():
    names = ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    for day in DAYS:
        name = names[(day - date(2000, 1, 1)).days % 7]  # the first of January 2000 was a Saturday
        assert FORMS["weekday day"](day).startswith(f"{name}, ")
        assert FORMS["mail"](day).startswith(f"{name[:3]}, ")


def test_no_string_means_two_dates_or_is_longer_than_forty_characters():
    meaning: dict[str, date] = {}
    for write in FORMS.values():
        for day in DAYS:
            assert meaning.setdefault(write(day), day) == day
    assert max(map(len, meaning)) <= 40


def test_every_source_is_a_form_of_its_target(corpus: PairCorpus):
    for source, target in corpus.train[:2_000] + corpus.validation + corpus.test:
        day = date.fromisoformat(target)
        assert any(write(day) == source for write in FORMS.values())


def test_no_date_occurs_twice_within_or_across_splits(corpus: PairCorpus):
    assert len({target for _, target in pairs(corpus)}) == len(pairs(corpus))


def test_dates_run_from_1900_to_2099(corpus: PairCorpus):
    years = {target[:4] for _, target in corpus.train}
    assert years == {str(year) for year in range(1900, 2100)}


def test_the_test_split_has_every_form_about_equally_often(corpus: PairCorpus):
    days = [(text, date.fromisoformat(iso)) for text, iso in corpus.test]
    for write in FORMS.values():
        assert sum(write(day) == text for text, day in days) >= len(days) // len(FORMS)


def test_the_splits_may_use_all_dates_and_no_more():
    # 200 years of 365 days, and 49 leap days: 1900 has none.
    corpus = dates(sizes=(73_047, 1, 1))
    assert len({target for _, target in pairs(corpus)}) == 73_049
    with pytest.raises(DataError, match=r"73,049 different items .* together 73,050; lower them"):
        dates(sizes=(73_048, 1, 1))
