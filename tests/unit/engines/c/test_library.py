"""The compiled library: errors of compilers in one message, the same numbers in all threads, no token out of range."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearformer.cli.main import main
from clearformer.config import GPTConfig
from clearformer.engines import compiler
from clearformer.engines.c import library
from clearformer.engines.c.model import Model, logits_of
from clearformer.errors import EngineError, PromptError

TINY = [
    "--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32",
    "--model.context", "16", "--train.batch-tokens", "256", "--train.steps", "3", "--train.checkpoint-every", "2",
]  # fmt: skip
LOSS_TOLERANCE = 2e-5
"""float32, after three steps: 1e-6 measured"""


def test_without_a_compiler_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiler, "PACKAGE", "no_such_package")
    with pytest.raises(
        EngineError, match=r"--engine c, but: no C compiler found; install .* pip install \"clearformer\[c\]\""
    ):
        library.library.__wrapped__()


@pytest.mark.parametrize("command", ["false", "/nowhere/cc"])
def test_a_compiler_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, command: str):
    monkeypatch.setenv("CC", command)
    with pytest.raises(EngineError, match=f"{command} cannot compile embedding.c: "):
        library.library.__wrapped__()


@pytest.mark.usefixtures("compiled")
def test_a_compiler_without_openmp_gives_one_thread_and_the_same_logits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    model = Model(GPTConfig(vocab_size=50, context=64, d_model=48, num_heads=4, num_layers=2, d_ff=96), 1)
    tokens = np.random.default_rng(0).integers(0, 50, (2, 64))
    expected = logits_of(model, (tokens,))
    monkeypatch.setattr(library, "THREADS", "-fno-such-option")
    monkeypatch.setenv("CLEARFORMER_CACHE", str(tmp_path))
    compiled, _ = library.library.__wrapped__()
    monkeypatch.setattr(library, "library", lambda: (compiled, ""))
    assert library.threads() == 1
    np.testing.assert_array_equal(logits_of(Model(model.config, 1), (tokens,)), expected)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_number_of_threads_does_not_change_logits():
    code = (
        "import numpy as np, hashlib\nfrom clearformer.config import BERTConfig\n"
        "from clearformer.engines.c.model import Model, logits_of\n"
        "model = Model(BERTConfig(vocab_size=50, context=64, d_model=48, num_heads=4, num_layers=2, d_ff=96), 1)\n"
        "tokens = np.random.default_rng(0).integers(0, 50, (3, 64))\n"
        "print(hashlib.sha256(logits_of(model, (tokens, tokens > 3, tokens * 0)).tobytes()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OMP_NUM_THREADS": count},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for count in ("1", "3")
    }
    assert len(found) == 1


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("tokens", "words"),
    [([[0, 11]], "tokens from 0 to 10 were expected, found 0 to 11"), ([[-1]], "found -1 to -1"),
     ([[1] * 9], "at most 8 tokens were expected, the model's context, found 9")],
)  # fmt: skip
def test_tokens_that_would_be_read_out_of_range_are_refused(tokens: list[list[int]], words: str):
    model = Model(GPTConfig(vocab_size=11, context=8, d_model=16, num_heads=2, num_layers=1, d_ff=8), 1)
    with pytest.raises(PromptError, match=words):
        logits_of(model, (np.array(tokens),))


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_command_trains_resumes_evaluates_and_generates_as_with_pytorch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def output(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return json.loads(capsys.readouterr().out)

    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    losses = {}
    for engine in ("c", "torch"):
        run = tmp_path / engine
        assert (
            main(["train", "--data", str(text), "--out", str(run), "--engine", engine, *TINY, "--model.dropout", "0"])
            == 0
        )
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        losses[engine] = [json.loads(line)["loss"] for line in lines]
    assert losses["c"] == pytest.approx(losses["torch"], rel=LOSS_TOLERANCE)
    assert main(["resume", str(tmp_path / "c")]) == 0
    scores = [output("evaluate", str(tmp_path / "c"), "--json", "--engine", engine) for engine in ("c", "torch")]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=LOSS_TOLERANCE)
    written = [
        output("generate", str(tmp_path / "c"), "--prompt", "the fox", "--max-new-tokens", "20", "--json", *flags)
        for flags in (["--temperature", "0"], ["--temperature", "0", "--engine", "torch"])
    ]
    assert written[0] == written[1]
