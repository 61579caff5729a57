import logging
import os
import subprocess
import sys
import sysconfig
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.data.corpora import TextCorpus, fingerprint
from clearformer.data.pydocs import pydocs
from clearformer.errors import DataError

# Enough documents to fill all three splits, each a paragraph of its own.
NUMBERED = [
    f"This is the document number {number} of the small library that this test makes up." for number in range(200)
]
MODULE = "\n".join(f'def f{number}():\n    """{text}"""\n' for number, text in enumerate(NUMBERED))

Library = Callable[..., Path]


@pytest.fixture(scope="module")
def corpus() -> TextCorpus:
    return pydocs()


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Give Python a standard library of the files named, and help topics or none."""

    def make(files: dict[str, str], topics: dict[str, str] | None = None) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        module = None
        if topics is not None:
            module = types.ModuleType("pydoc_data.topics")
            module.topics = topics
        monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)
        monkeypatch.setattr(sysconfig, "get_path", lambda name: {"stdlib": str(tmp_path)}[name])
        return tmp_path

    return make


def whole(corpus: TextCorpus) -> str:
    return "\n\n".join((corpus.train, corpus.validation, corpus.test))


def paragraphs(text: str) -> set[str]:
    return {paragraph for paragraph in text.split("\n\n") if len(paragraph) >= 40}


def test_this_python_carries_about_two_megabytes(corpus: TextCorpus):
    assert 1_000_000 < len(whole(corpus)) < 4_000_000


def test_nine_tenths_are_for_training_and_the_rest_is_halved(corpus: TextCorpus):
    size = len(whole(corpus))
    assert 0.85 < len(corpus.train) / size < 0.95
    assert 0.025 < len(corpus.validation) / size < 0.075
    assert 0.025 < len(corpus.test) / size < 0.075


def test_it_has_the_help_topics_and_the_docstrings(corpus: TextCorpus):
    text = " ".join(whole(corpus).split())
    assert 'The "while" statement is used for repeated execution as long as an expression is true' in text
    assert "Serialize ``obj`` to a JSON formatted ``str``." in text


def test_no_paragraph_is_in_two_splits(corpus: TextCorpus):
    train, validation, test = map(paragraphs, (corpus.train, corpus.validation, corpus.test))
    assert not train & validation
    assert not train & test
    assert not validation & test


def test_no_path_of_this_machine_is_in_the_text(corpus: TextCorpus):
    places = {sysconfig.get_path("stdlib"), str(Path.home()), str(Path.cwd())} - {"/"}
    assert places
    assert not [place for place in places if place in whole(corpus)]


def test_another_process_reads_the_same_corpus(corpus: TextCorpus):
    code = (
        "from clearformer.data.pydocs import pydocs; from clearformer.data.corpora import fingerprint; "
        "print(fingerprint(pydocs()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == fingerprint(corpus)


def test_docstrings_are_found_wherever_a_definition_stands(library: Library):
    source = '''"""The docstring of the module, long enough to be read as a document."""
import os
if os.name:
    try:
        class A:
            """The docstring of the class, long enough to be read as a document.

                Its example is indented by four, and stays so when the rest moves.
            Its last line is not.
            """
            async def f(self):
                """The docstring of the method, long enough to be read as a document."""
    except OSError:
        def g():
            """The docstring in the handler, long enough to be read as a document."""
'''
    library({"bisect.py": MODULE, "json/__init__.py": source})
    text = whole(pydocs())
    for owner in ("of the module", "of the class", "of the method", "in the handler"):
        assert f"The docstring {owner}, long enough to be read as a document." in text
    assert "\n\n    Its example is indented by four, and stays so when the rest moves.\nIts last line is not." in text


def test_sources_are_read_and_never_run(library: Library):
    text = "The docstring of a module that must not be run at all."
    library({"bisect.py": MODULE, "abc.py": f'"""{text}"""\nraise SystemExit("this was run")\n'})
    assert text in whole(pydocs())


@pytest.mark.parametrize(
    "place", ["json/tests/test_a.py", "test/a.py", "idlelib/a.py", "lib2to3/a.py", "site-packages/a.py", "mine.py"]
)
def test_tests_programs_and_installed_packages_are_left_out(library: Library, place: str):
    library({"bisect.py": MODULE, place: '"""The docstring of a file that is no part of the library."""'})
    assert "no part of the library" not in whole(pydocs())


def test_every_document_comes_once_and_short_ones_never(library: Library):
    library({"bisect.py": MODULE + 'def short():\n    """Return the name of it."""\n', "heapq.py": MODULE})
    documents = whole(pydocs()).split("\n\n")
    assert sorted(documents) == sorted(NUMBERED)


def test_a_document_keeps_its_split_when_others_come_and_go(library: Library):
    library({"bisect.py": MODULE})
    before = pydocs()
    library({"abc.py": '"""A document that was added later, and is read before the others."""'})
    after = pydocs()
    assert "added later" in whole(after)
    for split in ("train", "validation", "test"):
        assert set(getattr(before, split).split("\n\n")) <= set(getattr(after, split).split("\n\n"))


def test_a_paragraph_that_train_has_is_left_out_of_validation_and_test(library: Library):
    shared = "This paragraph stands in every document, and would give the answer away."
    library({"bisect.py": MODULE.replace('"""\n', f'\n\n    {shared}\n    """\n')})
    corpus = pydocs()
    assert shared in corpus.train
    assert shared not in corpus.validation + corpus.test
    assert paragraphs(whole(corpus)) == {*NUMBERED, shared}


def test_sources_that_do_not_parse_are_counted_and_named(library: Library, caplog: pytest.LogCaptureFixture):
    library({"bisect.py": MODULE, "abc.py": "def", "heapq.py": "x = '\0'"})
    assert sorted(whole(pydocs()).split("\n\n")) == sorted(NUMBERED)
    assert "2 of 3 sources do not parse: abc.py, heapq.py" in caplog.text


def test_an_odd_escape_in_a_source_warns_nobody_and_loses_nothing(library: Library, recwarn: pytest.WarningsRecorder):
    text = r"The docstring with an odd escape \d, which Python warns of when it compiles."
    library({"bisect.py": MODULE, "abc.py": f'"""{text}"""'})
    assert text in whole(pydocs())
    assert not recwarn.list


def test_a_python_without_help_topics_uses_its_docstrings_and_says_so(
    library: Library, caplog: pytest.LogCaptureFixture
):
    library({"bisect.py": MODULE}, topics=None)
    assert sorted(whole(pydocs()).split("\n\n")) == sorted(NUMBERED)
    assert "no pydoc_data.topics; going on without the help topics" in caplog.text


def test_a_python_without_sources_uses_its_help_topics_and_says_so(library: Library, caplog: pytest.LogCaptureFixture):
    library({}, topics={str(number): text for number, text in enumerate(NUMBERED)})
    assert sorted(whole(pydocs()).split("\n\n")) == sorted(NUMBERED)
    assert "no sources in" in caplog.text


def test_a_complete_python_logs_nothing(library: Library, caplog: pytest.LogCaptureFixture):
    library({"bisect.py": MODULE}, topics={"LOOPING": "The topic of loops, long enough to be read as a document."})
    with caplog.at_level(logging.DEBUG):
        pydocs()
    assert not caplog.records


def test_a_python_with_neither_is_refused_with_what_to_do(library: Library):
    path = library({})
    with pytest.raises(DataError, match="expected to include its documentation, found 0 documents") as caught:
        pydocs()
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("use a complete Python, or a text file of your own")
