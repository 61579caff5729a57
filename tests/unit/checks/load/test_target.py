"""The target is loaded; every error is one line that names the place in the user's file."""

import sys
from pathlib import Path

import pytest
from torch import nn

from clearformer.checks.load.target import load_target
from clearformer.checks.subject import Subject
from clearformer.errors import CheckError

GOOD = """
from torch import nn
from clearformer.checks import Subject

def model():
    return nn.Embedding(11, 11)

def filled_in():
    return Subject(nn.Embedding(11, 11), lambda model, tokens: model(tokens), vocab_size=11)
"""


FORM = "FILE.py:FUNCTION or package.module:FUNCTION"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run each test in a folder of its own, and remove the modules that it imports."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith(("torch", "clearformer")):
            del sys.modules[name]


def load(target: str) -> object:
    with load_target(target, print) as model:
        return model


def error_message(target: str) -> str:
    with pytest.raises(CheckError) as caught:
        load(target)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path.resolve()


def test_a_function_in_a_file_returns_the_model(tmp_path: Path):
    write("mine.py", GOOD)
    assert isinstance(load("mine.py:model"), nn.Embedding)
    assert isinstance(load(f"{tmp_path}/mine.py:model"), nn.Embedding)
    assert isinstance(load("mine.py:filled_in"), Subject)


def test_a_function_in_a_module_returns_the_model():
    write("package/mine.py", GOOD)
    assert isinstance(load("package.mine:model"), nn.Embedding)
    assert isinstance(load("torch.nn:Identity"), nn.Identity)


def test_a_file_may_have_the_name_of_an_existing_module():
    write("json.py", GOOD)
    assert isinstance(load("json.py:model"), nn.Embedding)


def test_the_folder_of_the_file_and_the_current_folder_can_be_imported_from_while_the_model_is_in_use():
    write("deep/neighbour.py", "size = 11")
    write("late_one.py", "value = 3")
    write("deep/mine.py", "from neighbour import size\nfrom torch import nn\ndef model(): return nn.Embedding(size, 2)")
    before = list(sys.path)
    with load_target("deep/mine.py:model", print) as model:
        import late_one

        assert late_one.value == 3
        assert model.num_embeddings == 11
    assert sys.path == before


@pytest.mark.parametrize(
    ("target", "words"),
    [
        *((wrong, f"{FORM} was expected, found {wrong!r}") for wrong in ("", "mine.py", "mine.py:")),
        ("mien.py:model", "a file was expected at mien.py, but there is none; did you mean mine.py?"),
        ("other.py:model", "a file was expected at other.py, but there is none"),
        ("mine.py:modle", "a function 'modle' was expected in mine.py, but there is none; did you mean model?"),
        ("mine.py:xyz", "a function 'xyz' was expected in mine.py, but there is none; it has Subject, model, f"),
        ("nowhere.mine:model", "a module nowhere.mine was expected, installed or in the current folder"),
        ("torch.nowhere:model", "a module torch.nowhere was expected, installed or in the current folder"),
    ],
)
def test_a_wrong_target_is_an_error_with_a_suggestion(target: str, words: str):
    write("mine.py", GOOD)
    assert error_message(target).startswith(words)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\nimport no_such_thing", 2, "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def model(:", 1, "SyntaxError: invalid syntax"),
        ("import json\n\njson.loads('{')", 3, "JSONDecodeError: Expecting property name"),
        ("import torch\n\n\ntorch.zeros(2) @ torch.zeros(3)", 4, "RuntimeError: inconsistent tensor size"),
        ("raise SystemExit(3)", 1, "SystemExit: 3"),
        ("import broken", 5, "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("target", ["mine.py:model", "mine:model"])
def test_a_failed_import_is_reported_with_its_line(target: str, text: str, line: int, words: str):
    path = write("mine.py", text)
    if "broken" in text:
        path = write("broken.py", "\n\n\n\n1 / 0\n")
    message = error_message(target)
    assert message.startswith(f"{target.split(':')[0]} cannot be imported: {words}")
    assert f"({path}:{line}" in message


def test_a_function_that_raises_is_reported_with_its_line():
    path = write("mine.py", "def inner():\n    raise ValueError('no weights')\n\n\ndef model():\n    return inner()\n")
    assert error_message("mine.py:model") == (
        f"model ({path}:5) raised ValueError: no weights ({path}:2, in inner) instead of returning a model; "
        "fix that first"
    )


@pytest.mark.parametrize("parameters", ["width", "*, width"])
def test_a_function_that_needs_arguments_is_not_called(parameters: str):
    path = write("mine.py", f"\n\ndef model({parameters}):\n    raise ValueError\n")
    assert error_message("mine.py:model") == (
        f"a function without arguments was expected, but model ({path}:3) needs some: "
        "missing a required argument: 'width'; write one that makes the model and returns it"
    )


@pytest.mark.parametrize(
    ("returned", "found"),
    [("None", "None"), ("[1, 2]", "[1, 2]"), ("nn.Linear", "the class Linear, not an instance of it")],
)
def test_a_return_value_that_is_no_model_is_refused(returned: str, found: str):
    path = write("mine.py", f"from torch import nn\n\ndef model():\n    return {returned}\n")
    assert error_message("mine.py:model") == (
        f"a model or a Subject was expected of model ({path}:3), but it returned {found}; return a model"
    )


def test_an_interrupt_while_loading_passes_through():
    write("mine.py", "def model():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load("mine.py:model")
