"""benchmarks/checks/zoo.py on repositories of a few lines, made here, and on reports written by hand."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKS = Path(__file__).parents[3] / "benchmarks" / "checks"
LIMIT = 120
"""seconds; a check of the model below takes five"""
MODEL = """
from torch import nn

class BagOfWords(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.output = nn.Embedding(11, 8), nn.Linear(8, 11)

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.output(x + x.mean(1, keepdim=True))
"""
RECIPE = """
import torch
from bag import BagOfWords

def model():
    torch.manual_seed(0)
    return BagOfWords()
"""


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(CHECKS))
    return importlib.import_module("zoo")


def found(*problems: str, first: str = "") -> dict[str, Any]:
    return {"first": first or next(iter(problems), ""), "means": "", "problems": list(problems), "passed": 9}


def bug(zoo: Any, first: str) -> Any:
    return zoo.ReleasedBug("it", "lib", "1.0", "1.1", "of_lib.py:it", "the mask is missing", (first,), "who/lib#1")


def test_a_bug_is_caught_by_a_problem_that_the_mended_version_has_not(zoo: Any):
    mask, start = "masks.future:no-mask", "parameters.initial-loss:large"
    judged = zoo.judge(bug(zoo, "masks.future"), found(mask, start), found(start))
    assert judged["caught"]
    assert judged["named"]
    assert not zoo.judge(bug(zoo, "masks.future"), found(start), found(start))["caught"]


def test_a_bug_is_named_only_by_an_answer_that_it_lists(zoo: Any):
    judged = zoo.judge(bug(zoo, "masks.future:leak"), found("masks.future:no-mask"), found())
    assert judged["caught"]
    assert not judged["named"]


def test_nothing_is_caught_where_the_mended_version_could_not_be_checked(zoo: Any):
    assert not zoo.judge(bug(zoo, "*"), found("masks.future:no-mask"), zoo.refusal("pip: no such version"))["caught"]


def test_every_bug_names_a_model_that_exists_and_answers(zoo: Any):
    for each in zoo.BUGS:
        file, _, function = each.model.partition(":")
        assert f"def {function}(" in (CHECKS / "released" / file).read_text(encoding="utf-8"), each.id
        assert each.first, each.id
    assert len({each.id for each in zoo.BUGS}) == len(zoo.BUGS)


def test_a_repository_that_is_not_there_is_left_out_and_said_so(
    zoo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(zoo, "RECIPES", tmp_path / "recipes")
    for name in ("here", "missing"):
        (tmp_path / "recipes").mkdir(exist_ok=True)
        (tmp_path / "recipes" / f"{name}.py").write_text(RECIPE)
    (tmp_path / "beside" / "here").mkdir(parents=True)
    assert [name for name, _ in zoo.recipes(tmp_path / "beside")] == ["here"]
    assert f"missing is left out: there is no folder {tmp_path / 'beside' / 'missing'}" in capsys.readouterr().out


def test_a_recipe_may_build_several_models_and_remark_on_them(zoo: Any, tmp_path: Path):
    larger = 'def larger():\n    "It is large."\n    return model()\n'
    (tmp_path / "it.py").write_text(f"def _size():\n    return 8\n{RECIPE}\n{larger}")
    assert zoo.models(tmp_path / "it.py") == {"model": "", "larger": "It is large."}


def test_no_folder_of_this_machine_is_published(zoo: Any):
    error = f"raised ValueError (/home/me/.venv/lib/python3.11/site-packages/lib/it.py:7) at {zoo.ROOT}/docs/a.py"
    assert zoo.refusal(error)["refused"] == "raised ValueError (lib/it.py:7) at docs/a.py"


def test_the_page_says_what_was_missed(zoo: Any):
    judged = zoo.judge(bug(zoo, "masks.future"), found(), found())
    page = zoo.page({"machine": {"date": "", "torch": "", "python": ""}, "released": {"it": judged}})
    link = "[who/lib#1](https://github.com/who/lib/issues/1)"
    assert f"| lib 1.0, 1.1 | it | the mask is missing ({link}) | none | none | missed |" in page
    assert "Of 1 bugs 0 are caught, 0 of them named in the first line; missed: 1;" in page


def repository(folder: Path, module: str = MODEL) -> str:
    """Makes the repository `it` with one module and a recipe beside it, which is the target to check."""
    (folder / "it").mkdir()
    (folder / "it" / "bag.py").write_text(module)
    (folder / "recipe.py").write_text(RECIPE)
    return f"{folder / 'recipe.py'}:model"


def test_a_check_that_takes_too_long_is_said_so(zoo: Any, tmp_path: Path):
    assert (
        zoo.check(sys.executable, repository(tmp_path), tmp_path / "it", 0.01)["refused"] == "it took more than 0.01 s"
    )


@pytest.mark.slow
def test_a_repository_that_does_not_import_is_said_so_with_its_error(zoo: Any, tmp_path: Path):
    target = repository(tmp_path, "import a_module_that_nobody_has\n")
    refused = zoo.check(sys.executable, target, tmp_path / "it", LIMIT)["refused"]
    assert "No module named 'a_module_that_nobody_has'" in refused


@pytest.mark.slow
def test_the_bare_command_names_what_a_repository_gets_wrong(zoo: Any, tmp_path: Path):
    result = zoo.check(sys.executable, repository(tmp_path), tmp_path / "it", LIMIT)
    assert result["first"] == "order.matters:no-order", result
