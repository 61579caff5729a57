"""Modules become one script in which each keeps its own names."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from clearformer.explorer.modules import bundle
from clearformer.explorer.page import STATIC

MODULES = {
    "main.mjs": 'import { double as twice,\n    NAME } from "./a.mjs";\nimport { half } from "./b/c.mjs";\n'
    "const value = 10;\nconsole.log(NAME, twice(value), half(value));\n",
    "a.mjs": 'export const NAME = "a", UNUSED = 1;\nconst value = 2;\n'
    "export function double(x) {\n    return value * x;\n}\n",
    "b/c.mjs": 'import { double } from "../a.mjs";\nconst value = 4;\nexport const half = (x) => double(x) / value;\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, source in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path


def test_a_bundle_does_what_its_modules_do(folder: Path):
    if shutil.which("node") is None:
        pytest.skip("Node was expected, found none; install nodejs")
    done = [
        subprocess.run(
            ["node", "--input-type=module"], input=script, cwd=folder, capture_output=True, text=True, timeout=60
        )
        for script in (f'import "{(folder / "main.mjs").as_uri()}";', bundle(folder / "main.mjs"))
    ]
    assert done[0].stdout == done[1].stdout == "a 20 5\n", done[1].stderr


def test_a_module_that_imports_itself_by_a_detour_is_an_error(folder: Path):
    (folder / "a.mjs").write_text('import { half } from "./b/c.mjs";\n', encoding="utf-8")
    with pytest.raises(AssertionError, match="imports itself by a detour"):
        bundle(folder / "main.mjs")


@pytest.mark.parametrize("entry", ["main.mjs", "worker.mjs"])
def test_nothing_of_the_page_is_left_to_import(entry: str):
    assert not re.search(r"^(import|export)\b", bundle(STATIC / entry), re.MULTILINE)
