"""Damaged runs, data files and command lines end well or with one message; `benchmarks/robustness` tries many more."""

import gc
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from clearformer.cli.main import main
from clearformer.errors import CheckpointError, ConfigError, RunError
from clearformer.runs import metrics
from clearformer.runs.folder import open_folder
from clearformer.runs.session import load_model

# an interruption may fall into a callback of the garbage collector's, which prints it and goes on
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "robustness" / "mutate.py"
DEEP = "[" * 100_000
DIGITS = "1" * 5000
"""more digits than Python converts to an integer"""


@pytest.mark.parametrize("value", ["null", "true", "2", "1.5", "[]", "{}"])
def test_a_data_hash_that_is_no_string_is_refused(labelled_run: Path, tmp_path: Path, value: str):
    run = _copy(labelled_run, tmp_path)
    data = json.loads((run / "data.json").read_text()) | {"sha256": json.loads(value)}
    (run / "data.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"the data's SHA-256 was expected in .*data\.json, but: 'sha256' is .*; train"):
        _ = open_folder(run, pytest.fail).corpus


@pytest.mark.parametrize("value", [None, 2, "xy", [], ["praise"], ["praise", 2], ["praise", "\ud800"], {"a": 1}])
def test_invalid_class_names_are_refused(labelled_run: Path, tmp_path: Path, value: object):
    run = _copy(labelled_run, tmp_path)
    data = json.loads((run / "data.json").read_text()) | {"classes": value}
    (run / "data.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"a list of 2 class names was expected in .*, but: 'c"):
        _ = open_folder(run, pytest.fail).classes


@pytest.mark.parametrize("content", [DEEP, DIGITS], ids=["deep", "digits"])
def test_json_that_python_cannot_parse_is_refused_in_every_file(labelled_run: Path, tmp_path: Path, content: str):
    run = _copy(labelled_run, tmp_path)
    opened = open_folder(run, lambda _: None)
    for path in (run / "data.json", *run.glob("checkpoints/*/state.json"), run / "config.json"):
        path.write_text(content)
    with pytest.raises(RunError, match=r"SHA-256 was expected in .*data\.json, but: "):
        _ = opened.corpus
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read; of the newest: a state in JSON was "):
        load_model(opened)
    with pytest.raises(ConfigError, match=r"a configuration in JSON or TOML was expected in .*config\.json, but: "):
        open_folder(run, pytest.fail)


@pytest.mark.parametrize(
    "line",
    ["null", "[]", "2", "{}", '{"step": 1}', '{"loss": 1}', '{"step": "1", "loss": 1}', '{"step": 1, "loss": []}'],
)
def test_a_line_of_metrics_without_its_numbers_is_refused(tmp_path: Path, line: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1, "loss": 2.5}}\n{line}\n')
    with pytest.raises(CheckpointError, match=r"an object of numbers, step and loss among them, was .* in line 2 of "):
        metrics.read(path)


@pytest.mark.parametrize("content", [DEEP, DIGITS], ids=["deep", "digits"])
def test_a_line_of_metrics_that_python_cannot_parse_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f"{content}\n")
    with pytest.raises(CheckpointError, match=r"a JSON object in every line of .* was expected, but: "):
        metrics.read(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--model.d-ff", "9" * 15, r"found num_layers 1, d_model 4, d_ff 9{15}, which take at least "),
        ("--model.head-width", "9" * 15, r"found .*, num_heads 2, head_width 9{15}, d_ff 4, which take at least "),
        ("--model.num-layers", "9" * 15, r"found num_layers 9{15}, d_model 4, d_ff 4, which take at least "),
        ("--model.context", "9" * 15, r"found context 9{15}, which take at least "),
        ("--model.ngram-buckets", "9" * 15, r"found ngram_buckets 9{15}, d_model 4, which take at least "),
        ("--train.batch-tokens", "9" * 15, r"found batch_tokens 9{15}, which take at least "),
        ("--model.window", "9" * 30, r"window must be at most \d+, found 9{30}; lower it"),
        ("--out", "x" * 5000, r"a file or folder that can be used was expected, but: .*File name too long"),
    ],
)
def test_a_size_beyond_the_memory_is_refused_before_anything_is_created(
    hostile, capsys: pytest.CaptureFixture[str], flag: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(hostile.home)
    assert main(hostile.train("tinyshakespeare", "text.txt", "refused", flag, value)) in (1, 2)
    assert re.match(f"clearformer: .*{words}", capsys.readouterr().err)
    assert not (hostile.home / "refused").exists()


def test_a_vocabulary_size_is_only_a_maximum(hostile):
    lines = hostile.train("tinyshakespeare", "text.txt", "wide", "--train.steps", "1", "--model.vocab-size", "9" * 30)
    assert main(lines) == 0


@pytest.mark.parametrize("command", ["resume", "evaluate", "generate"])
def test_a_run_whose_name_is_too_long_for_a_file_is_refused(capsys: pytest.CaptureFixture[str], command: str):
    assert main([command, "x" * 5000]) == 1
    assert "clearformer: a file or folder that can be used was expected, but: " in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), MemoryError("9 GB"), RuntimeError("can't allocate memory: 9 GB")])
def test_lack_of_memory_is_reported_with_one_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def lack(_: object) -> int:
        raise error

    monkeypatch.setattr("clearformer.cli.recipes.run", lack)
    assert main(["recipes"]) == 1
    assert re.fullmatch("clearformer: enough memory was expected, but: .+; lower .*\n", capsys.readouterr().err)


def _copy(run: Path, folder: Path) -> Path:
    for path in run.rglob("*"):
        if path.is_file():
            (folder / path.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
            (folder / path.relative_to(run)).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The script's runs, in a temporary folder."""
    spec = importlib.util.spec_from_file_location("mutate", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Hostile(tmp_path_factory.mktemp("hostile"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("runs", 80), ("data", 40), ("lines", 80)])
def test_hostile_input_ends_well_or_with_one_message(hostile, kind: str, count: int, monkeypatch: pytest.MonkeyPatch):
    # Finalizers of earlier tests' garbage run now: pytest formats their warnings with ast.parse, and if the collector
    # runs them while pydocs parses, Python 3.11 raises SystemError, as its parser is not reentrant.
    gc.collect()
    monkeypatch.chdir(hostile.home)  # put back at the end
    cases = {f"--kind {kind} --seed {seed}": hostile.case(kind, seed) for seed in range(count)}
    assert not {how: (what, found.fault, found.trace) for how, (what, found) in cases.items() if found.fault}
    statuses = {found.status for _, found in cases.values()}
    assert "refused" in statuses
    assert statuses & {"done", "stopped"}, "good input trains, to its end or until the limit of time"
