"""Scripts are read as they stand, run as a notebook runs them, and recorded to the byte."""

import json
import sys
from pathlib import Path

import pytest

from clearformer.errors import ClearformerError
from clearformer.guide.notebook import as_notebook
from clearformer.guide.recording import picture_of, printed_by, record
from clearformer.guide.running import CellError, running
from clearformer.guide.stages import find, names_of, read_questions, read_stages

DIFF = """--- stage 1
+++ stage 2
@@ -2,4 +2,4 @@
\x20
\x20
 def boxes() -> list[str]:
-    return ["encoder"]
+    return ["encoder"] * 6"""


def test_a_stage_says_its_number_title_lesson_and_minutes(guide: Path):
    first, second = read_stages(guide)
    assert (first.number, first.part, first.title, first.minutes) == (1, "1_boxes", "Two boxes", 5)
    assert first.teaches == "A stack is a list."
    assert [cell.number for cell in first.cells if cell.asks] == [4]
    assert second.before is first


def test_a_question_has_no_number_and_a_module_it_imports_is_none(guide: Path):
    (question,) = read_questions(guide)
    assert (question.number, question.minutes, question.teaches) == (None, None, "Yes.")
    assert [module.name for module in question.modules] == ["shared.py"]


def test_the_program_is_the_tagged_cells_and_its_diff_that_of_difflib_by_hand(guide: Path):
    first, second = read_stages(guide)
    assert first.program == 'import math\n\n\ndef boxes() -> list[str]:\n    return ["encoder"]\n'
    assert first.diff == ""
    assert second.diff == DIFF
    assert [cell.number for cell in second.cells if second.is_unchanged(cell)] == [2]


def test_names_of_a_cell_are_what_it_defines():
    assert names_of("class A:\n    x = 1\n\n\ndef f(): ...\n\n\ny = z = 2\n") == ["A", "f", "y", "z"]


@pytest.mark.parametrize("name", ["3", "0", "-1", "two", "²"])
def test_what_is_neither_stage_nor_question_is_an_error(guide: Path, name: str):
    with pytest.raises(ClearformerError, match=r"a stage from 1 to 2 or a question \(picture\) was expected, found"):
        find(name, [*read_stages(guide), *read_questions(guide)])


def test_cells_share_a_main_module_of_their_own_which_ends_with_the_script(guide: Path):
    main, path = sys.modules["__main__"], list(sys.path)
    (guide / "1_boxes" / "01_two.py").write_text(
        '# %% [markdown]\n# # 1. Main\n#\n# It is.\n\n# %%\nx = 3\n\n# %%\nimport sys\n(x, sys.modules["__main__"].x)\n'
    )
    with running(read_stages(guide)[0]) as run:
        assert [run(cell) for cell in read_stages(guide)[0].cells if not cell.is_text] == [None, (3, 3)]
    assert sys.modules["__main__"] is main
    assert sys.path == path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\nassert x == 2", "in line 2, `assert x == 2`: AssertionError"),
        ("assert 1 == 2, 'two'", "in line 1, `assert 1 == 2, 'two'`: AssertionError: two"),
        ("boxes(3)", "in line 1, `boxes(3)`: TypeError: boxes() takes 0 positional arguments but 1 was given"),
        ("f()", "in line 2 of cell 3, `return 1 / 0`: ZeroDivisionError: division by zero"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("raise SystemExit(4)", "in line 1, `raise SystemExit(4)`: SystemExit: 4"),
    ],
)
def test_an_error_names_the_cell_the_line_and_what_python_says(guide: Path, code: str, words: str):
    script = guide / "1_boxes" / "01_two.py"
    text = script.read_text().replace("def boxes", "def f():\n    return 1 / 0\n\n\ndef boxes")
    script.write_text(text.replace("assert len(boxes()) == 1", code))
    stage = read_stages(guide)[0]
    with running(stage) as run:
        run(stage.cells[1])
        run(stage.cells[2])
        with pytest.raises(CellError) as caught:
            run(stage.cells[-1])
    assert str(caught.value).startswith(f"cell 6 of {script} stopped")
    assert words in str(caught.value)


def test_a_notebook_has_the_cells_the_diff_and_no_output(guide: Path):
    stage = read_stages(guide)[1]
    notebook = json.loads(as_notebook(stage))
    assert [cell["cell_type"][0] for cell in notebook["cells"]] == list("mmccmcc")
    assert DIFF.replace("\n", "") in "".join(notebook["cells"][1]["source"]).replace("\n", "")
    assert all(not cell.get("outputs") for cell in notebook["cells"])
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert as_notebook(stage) == as_notebook(stage)


def test_a_recording_is_what_was_printed_and_drawn_and_equal_to_the_byte(guide: Path):
    stage, (question,) = read_stages(guide)[0], read_questions(guide)
    figures = guide / "figures"
    (figures).mkdir()
    (figures / "picture-9.svg").touch()
    first = {path.name: path.read_bytes() for script in (stage, question) for path in record(script, figures)}
    assert sorted(first) == ["01_two.txt", "picture-2.svg", "picture.txt"]
    assert printed_by(stage) == {5: "1 [bold]box[/bold]\n['encoder']\n"}
    assert printed_by(question) == {}
    assert picture_of(question, 2) == figures / "picture-2.svg"
    assert picture_of(question, 9) is None
    assert b"three points" in first["picture-2.svg"]
    assert {path.name: path.read_bytes() for script in (stage, question) for path in record(script, figures)} == first
