"""Imports point forwards along the way of the data, torch is taken only where it is needed, and pickle nowhere."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import clearformer

SOURCE = Path(clearformer.__file__).parent
WAY = ("data", "blocks", "models", "training", "runs", "generation", "evaluation", "inspection")
EVERYWHERE = ("config", "engine", "shapes", "errors")
EDGES = ("api", "cli", "demo", "engines", "interop", "checks", "explorer", "guide")
MODULES = sorted(SOURCE.rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def name_of(path: Path) -> str:
    parts = ("clearformer", *path.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The folder or file right under the package: "blocks" of "clearformer.blocks.norm"."""
    return [*module.split("."), ""][1]


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(path: Path) -> list[str]:
    """Everything a file imports when it runs, at whatever depth, by its whole name."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {node for part in tree.body if is_for_types(part) for node in ast.walk(part)}
    for node in set(ast.walk(tree)) - for_types:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; write the whole name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def own_imports(path: Path) -> list[str]:
    return [part_of(module) for module in imports(path) if module.split(".")[0] == "clearformer"]


def python(code: str) -> str:
    """What a fresh Python prints. The hook of the tests is not in it."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", [path for path in MODULES if part_of(name_of(path)) in WAY], ids=name_of)
def test_imports_point_forwards_along_the_way_of_the_data(path: Path):
    here = WAY.index(part_of(name_of(path)))
    for part in own_imports(path):
        assert part in EVERYWHERE or part in WAY[: here + 1], f"{name_of(path)} imports clearformer.{part}"


@pytest.mark.parametrize("name", EVERYWHERE)
def test_what_everything_may_import_imports_nothing_of_the_way(name: str):
    opened = {"engines"} if name == "engine" else set()
    assert set(own_imports(SOURCE / f"{name}.py")) <= {*EVERYWHERE, *opened}


def test_edges_are_imported_by_edges_only_and_engines_by_what_opens_them():
    for path in MODULES:
        part = part_of(name_of(path))
        if part not in (*EDGES, "", "__main__"):
            opened = {"engines"} if part == "engine" else set()
            assert set(own_imports(path)) & set(EDGES) <= opened, name_of(path)


def test_every_folder_stands_on_the_way_or_at_the_edge():
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert set(WAY) <= folders <= {*WAY, *EDGES}


def test_what_other_engines_share_takes_no_torch():
    free = [
        "clearformer",
        *(f"clearformer.{name}" for name in EVERYWHERE),
        "clearformer.recipes",
        *(name_of(path) for path in sorted((SOURCE / "data").glob("*.py"))),
        "clearformer.models.initial",
        *(f"clearformer.runs.{name}" for name in ("folder", "checkpoint", "metrics")),
        *(f"clearformer.training.{name}" for name in ("optimizer_state", "processes", "schedule", "steps")),
        *(
            f"clearformer.generation.{name}"
            for name in ("beam", "decoder", "decoding", "sampling", "speculative", "translation")
        ),
        "clearformer.engines",
        "clearformer.engines.fastest",
        "clearformer.engines.tables",
        *(name_of(path) for path in sorted((SOURCE / "engines" / "c").glob("*.py"))),
        # all but the module that makes it an engine of the command
        *(name_of(path) for path in sorted((SOURCE / "engines" / "numpy").glob("*.py")) if path.stem != "engine"),
    ]
    code = f"""
import importlib, sys
for name in {free!r}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name + " takes torch"
print("done")
"""
    assert python(code) == "done\n"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_there_is_no_pickle_anywhere(path: Path):
    assert not {module.split(".")[0] for module in imports(path)} & PICKLES
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) not in {("torch", "load"), ("torch", "save")}, name_of(path)
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle" or ast.literal_eval(node.value) is False, name_of(path)
    assert not {"torch.load", "torch.save"} & set(imports(path))


BLOCKS = [name_of(path) for path in sorted((SOURCE / "blocks").glob("*.py")) if path.stem != "__init__"]


@pytest.fixture(scope="module")
def demonstrations() -> dict[str, str]:
    """What `python -m` prints for each block, all in one process, since torch takes long to load."""
    code = f"""
import contextlib, io, json, runpy, sys
printed = {{}}
for name in {BLOCKS!r}:
    for module in [module for module in sys.modules if module.startswith("clearformer.")]:
        del sys.modules[module]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_module(name, run_name="__main__")
    printed[name] = out.getvalue()
print(json.dumps(printed))
"""
    return json.loads(python(code))


@pytest.mark.parametrize("name", BLOCKS)
def test_each_block_demonstrates_itself_in_a_few_printed_lines(demonstrations: dict[str, str], name: str):
    lines = demonstrations[name].splitlines()
    assert 1 <= len([line for line in lines if line.strip()]) <= 20
