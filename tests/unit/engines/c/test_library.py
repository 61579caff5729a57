"""The compiled library: errors of compilers in one message, the same numbers in all threads, no token out of range."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from clearformer.config import ClassifierConfig, GPTConfig
from clearformer.engines import compiler
from clearformer.engines.c import library
from clearformer.engines.c.model import Model, logits_of
from clearformer.errors import EngineError, PromptError


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
    with pytest.raises(EngineError, match=f"{command} cannot compile embedding.c: ") as caught:
        library.library.__wrapped__()
    assert caught.value.exit_code == 2


def test_a_cache_folder_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CLEARFORMER_CACHE", f"{__file__}/below")
    with pytest.raises(EngineError, match=r"cannot compile embedding.c: .*Not a directory.*test_library.py"):
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


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
def test_without_a_mask_a_classifier_reads_all_tokens(pooling: Literal["first", "last", "mean"]):
    sizes: dict[str, Any] = {"d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 8}
    model = Model(ClassifierConfig(vocab_size=11, context=8, pooling=pooling, **sizes), 1)
    tokens = np.array([[3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(logits_of(model, (tokens,)), logits_of(model, (tokens, tokens > 0)))
