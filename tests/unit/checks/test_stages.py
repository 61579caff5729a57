"""The folders of checks are the stages that a model passes through, and each imports only earlier ones."""

import ast
from pathlib import Path

import pytest

import clearformer.checks

FOLDER = Path(clearformer.checks.__file__).parent
STAGES = ("load", "recognise", "probe", "explain", "models", "parts", "report")
MODULES = [path for stage in STAGES for path in sorted((FOLDER / stage).glob("*.py"))]


def imported_stages(path: Path) -> set[str]:
    imports = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    names = [[*(node.module or "").split("."), ""] for node in imports]
    return {name[2] for name in names if name[:2] == ["clearformer", "checks"] and name[2] in STAGES}


def test_every_folder_is_a_stage():
    assert {path.parent.name for path in FOLDER.glob("*/__init__.py")} == set(STAGES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_stage_imports_only_earlier_ones(path: Path):
    later = STAGES[STAGES.index(path.parent.name) + 1 :]
    assert not imported_stages(path) & set(later)


def test_checks_of_models_and_of_parts_do_not_import_each_other():
    assert not any("models" in imported_stages(path) for path in (FOLDER / "parts").glob("*.py"))
