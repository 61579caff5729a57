"""`clearformer export --to onnx`: the same logits in onnxruntime, for every batch and length up to the context."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clearformer.cli.main import main
from clearformer.config import Config
from clearformer.engine import engine_of
from clearformer.interop import onnx
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.folder import open_folder
from clearformer.runs.session import load_model

EQUAL = 1e-5
"""of the spread of logits: float32's rounding, in sums of a few dozen numbers in another order"""
SIZES = ((1, 1, 1), (2, 7, 3), (3, 1, 12), (5, 12, 5))
"""B, S and T"""


def with_relative_positions(run: Path, folder: Path) -> Path:
    """A run with the same tokenizer, and initial weights."""
    values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    config = Config.from_dict(values | {"model": values["model"] | {"positions": "relative"}})
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    save_checkpoint(folder / "checkpoints", Checkpoint(1, {"model": initial_weights(config.model, 1)}), keep=1)
    return folder


@pytest.mark.slow
def test_every_family_has_the_same_logits_in_onnxruntime(
    text_run: Path, masked_run: Path, labelled_run: Path, pairs_run: Path, tmp_path: Path
):
    onnxruntime = pytest.importorskip("onnxruntime")
    relative_run = with_relative_positions(pairs_run, tmp_path / "relative")
    runs = [text_run, masked_run, labelled_run, pairs_run, relative_run]
    # in a process of its own, since the exporter does not follow functions whose shapes are checked at each call
    code = "import sys\nfrom clearformer.cli.main import main\nfor run in sys.argv[2:]:\n"
    code += "    assert main(['export', run, sys.argv[1] + '/' + run[-4:], '--to', 'onnx']) == 0"
    subprocess.run([sys.executable, "-c", code, str(tmp_path), *map(str, runs)], check=True, capture_output=True)
    rng = np.random.default_rng(1)
    for run in runs:
        folder = tmp_path / str(run)[-4:]
        assert (folder / "tokenizer.json").read_bytes() == (run / "tokenizer.json").read_bytes()
        session = onnxruntime.InferenceSession(folder / onnx.FILE)
        model, _ = load_model(open_folder(run, pytest.fail), "torch")
        vocab, lengths = model.config.vocab_size, onnx.INPUTS[model.config.kind]
        for B, S, T in SIZES:  # noqa: N806
            given = {}
            for name, length in lengths.items():
                shape = (B, S if length == "S" else T)
                if name.endswith("real"):
                    given[name] = np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (B, 1))
                else:
                    given[name] = rng.integers(0, 1 if name == "segments" else vocab, shape)
            expected = engine_of(model).logits_of(model, tuple(given.values()))
            (found,) = session.run(None, given)
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() < EQUAL * np.ptp(expected), (run.name, B, S, T)


def test_without_the_package_one_message_says_what_to_install(
    text_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(onnx, "PACKAGES", ("no_such_package",))
    assert main(["export", str(text_run), str(tmp_path / "onnx"), "--to", "onnx"]) == 2
    assert (
        'the package no_such_package was expected for --to onnx, found none; type: pip install "clearformer[onnx]"'
        in (capsys.readouterr().err)
    )
    assert not (tmp_path / "onnx").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert main(["export", str(text_run), str(tmp_path / "full"), "--to", "onnx"]) == 2
    assert "a new or empty folder was expected" in capsys.readouterr().err
