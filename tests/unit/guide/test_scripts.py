"""Every stage and question of the guide runs, also as a notebook, and says what the table of contents needs."""

import ast

import nbclient
import nbformat
import pytest

from clearformer.guide.formulas import as_unicode, replace_formulas
from clearformer.guide.notebook import as_notebook
from clearformer.guide.running import running
from clearformer.guide.stages import Script, read_questions, read_stages

STAGES, QUESTIONS = read_stages(), read_questions()
SCRIPTS = [*STAGES, *QUESTIONS]
GROWING = ("1_attention", "2_layer", "3_model")
"""parts in which every stage changes the program"""


def name(script: Script) -> str:
    return script.name


def test_stages_are_numbered_without_a_gap_in_file_and_title():
    assert [stage.number for stage in STAGES] == list(range(1, len(STAGES) + 1))
    for stage in STAGES:
        assert stage.cells[0].source.startswith(f"# {stage.number}. ")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_has_a_title_a_lesson_and_cells_that_parse(script: Script):
    assert script.cells[0].is_text
    assert script.cells[0].source.startswith("# ")
    assert script.teaches.endswith((".", "?"))
    assert script.number is None or script.minutes
    for cell in script.cells:
        assert cell.is_text or ast.parse(cell.source).body
    assert "assert" in [cell.source for cell in script.cells if not cell.is_text][-1]  # or torch.testing.assert_close


@pytest.mark.parametrize("stage", STAGES[1:], ids=name)
def test_a_stage_changes_the_program_or_says_that_it_does_not(stage: Script):
    assert stage.diff or stage.part not in GROWING
    assert stage.program or stage.part not in GROWING


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_no_formula_keeps_a_sign_of_tex_in_the_terminal(script: Script):
    formulas: list[str] = []
    for cell in script.cells:
        if cell.is_text:
            replace_formulas(cell.source, lambda tex: formulas.append(tex) or "")
    assert [tex for tex in formulas if set("\\{}$") & set(as_unicode(tex))] == []


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_a_script_runs_and_its_assertions_hold(script: Script, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_GUIDE", "short")
    with running(script) as run:
        for cell in script.cells:
            if not cell.is_text:
                run(cell)


@pytest.mark.slow
@pytest.mark.parametrize("script", [*STAGES[5:6], *STAGES[14:15]], ids=name)
def test_a_notebook_runs_to_its_end(script: Script, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_GUIDE", "short")
    notebook = nbformat.reads(as_notebook(script), as_version=4)
    nbclient.NotebookClient(notebook, timeout=120).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
