"""The built-in corpus has the documentation of this Python; its rules hold in a small library made up here."""

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
from clearformer.data.pydocs import _docstrings, pydocs
from clearformer.errors import DataError

# enough documents of one paragraph to fill all three splits
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
    """Replace the standard library by some files, and the help topics by others or none."""

    def make(files: dict[str, str], topics: dict[str, str] | None = None) -> Path:
        _docstrings.cache_clear()
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


def reads_this_python(test: Callable[..., None]) -> Callable[..., None]:
    """Its sources take seconds to parse, so these tests are slow, and one worker runs them."""
    return pytest.mark.slow(pytest.mark.xdist_group("pydocs")(test))


def whole(corpus: TextCorpus) -> str:
    return "\n\n".join((corpus.train, corpus.validation, corpus.test))


def paragraphs(text: str) -> set[str]:
    return {paragraph for paragraph in text.split("\n\n") if len(paragraph) >= 40}


@reads_this_python
def test_the_corpus_has_about_two_megabytes_split_90_5_5_percent(corpus: TextCorpus):
    size = len(whole(corpus))
    assert 1_000_000 < size < 4_000_000
    assert 0.85 < len(corpus.train) / size < 0.95
    assert 0.025 < len(corpus.validation) / size < 0.075
    assert 0.025 < len(corpus.test) / size < 0.075


@reads_this_python
def test_the_corpus_has_the_help_topics_and_the_docstrings(corpus: TextCorpus):
    text = " ".join(whole(corpus).split())
    assert 'The "while" statement is used for repeated execution as long as an expression is true' in text
    assert "Serialize ``obj`` to a JSON formatted ``str``." in text


@reads_this_python
def test_no_paragraph_is_in_two_splits(corpus: TextCorpus):
    train, validation, test = map(paragraphs, (corpus.train, corpus.validation, corpus.test))
    assert not train & validation
    assert not train & test
    assert not validation & test


@reads_this_python
def test_no_path_of_this_machine_is_in_the_text(corpus: TextCorpus):
    paths = {sysconfig.get_path("stdlib"), str(Path.home()), str(Path.cwd())} - {"/"}
    assert paths
    assert not [path for path in paths if path in whole(corpus)]


@reads_this_python
def test_another_process_reads_the_same_corpus(corpus: TextCorpus):
    code = (
        "from clearformer.data.pydocs import pydocs; from clearformer.data.corpora import fingerprint; "
        "print(fingerprint(pydocs()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == fingerprint(corpus)


def test_docstrings_of_nested_definitions_are_found_and_dedented(library: Library):
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


def test_sources_are_never_executed(library: Library):
    text = "The docstring of a module that must not be executed."
    library({"bisect.py": MODULE, "abc.py": f'"""{text}"""\nraise SystemExit("executed")\n'})
    assert text in whole(pydocs())


@pytest.mark.parametrize(
    "path", ["json/tests/test_a.py", "test/a.py", "idlelib/a.py", "lib2to3/a.py", "site-packages/a.py", "mine.py"]
)
def test_tests_programs_and_installed_packages_are_left_out(library: Library, path: str):
    library({"bisect.py": MODULE, path: '"""The docstring of a file that is not part of the library."""'})
    assert "not part of the library" not in whole(pydocs())


def test_duplicates_and_short_documents_are_left_out(library: Library):
    library({"bisect.py": MODULE + 'def short():\n    """Return the name of it."""\n', "heapq.py": MODULE})
    documents = whole(pydocs()).split("\n\n")
    assert sorted(documents) == sorted(NUMBERED)


def test_adding_a_document_moves_no_other(library: Library):
    library({"bisect.py": MODULE})
    before = pydocs()
    library({"abc.py": '"""A document that was added later, and is read before the others."""'})
    after = pydocs()
    assert "added later" in whole(after)
    for split in ("train", "validation", "test"):
        assert set(getattr(before, split).split("\n\n")) <= set(getattr(after, split).split("\n\n"))


def test_a_paragraph_of_train_is_left_out_of_validation_and_test(library: Library):
    shared = "This paragraph occurs in every document, and would leak into the test."
    library({"bisect.py": MODULE.replace('"""\n', f'\n\n    {shared}\n    """\n')})
    corpus = pydocs()
    assert shared in corpus.train
    assert shared not in corpus.validation + corpus.test
    assert paragraphs(whole(corpus)) == {*NUMBERED, shared}


def test_an_invalid_escape_in_a_source_causes_no_warning(library: Library, recwarn: pytest.WarningsRecorder):
    text = r"The docstring with an invalid escape \d, which Python warns of."
    library({"bisect.py": MODULE, "abc.py": f'"""{text}"""'})
    assert text in whole(pydocs())
    assert not recwarn.list


@pytest.mark.parametrize(
    ("files", "topics", "warning"),
    [
        ({"bisect.py": MODULE}, None, "no pydoc_data.topics; going on without the help topics"),
        ({}, {str(number): text for number, text in enumerate(NUMBERED)}, "no sources in"),
        (
            {"bisect.py": MODULE, "abc.py": "def", "heapq.py": "x = '\0'"},
            {},
            "2 of 3 sources do not parse: abc.py, heapq.py",
        ),
    ],
    ids=["no topics", "no sources", "invalid sources"],
)
def test_what_a_python_lacks_is_logged_and_the_rest_is_used(
    library: Library, caplog: pytest.LogCaptureFixture, files: dict[str, str], topics: dict[str, str], warning: str
):
    library(files, topics)
    assert sorted(whole(pydocs()).split("\n\n")) == sorted(NUMBERED)
    assert warning in caplog.text


def test_a_complete_python_logs_nothing(library: Library, caplog: pytest.LogCaptureFixture):
    library({"bisect.py": MODULE}, topics={"LOOPING": "The topic of loops, long enough to be read as a document."})
    with caplog.at_level(logging.DEBUG):
        pydocs()
    assert not caplog.records


def test_a_python_without_documentation_is_refused_with_what_to_do(library: Library):
    path = library({})
    with pytest.raises(DataError, match="expected to include its documentation, found 0 documents") as caught:
        pydocs()
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith("use a complete Python, or a text file of your own")
