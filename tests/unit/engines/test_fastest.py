"""Which engine decodes: C in place of PyTorch where a test found it exact and faster; what was chosen stays."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clearformer.config import Config, EngineName, GPTConfig, TrainConfig
from clearformer.engines import compiler, fastest
from clearformer.engines.c import library
from clearformer.engines.fastest import TOLERANCE, Trial, fastest_engine

CONFIG = Config(dataset="", model=GPTConfig(vocab_size=50, context=8, d_model=16, num_heads=2, num_layers=1, d_ff=32))
FASTER = Trial(error=1e-6, speedups=(2.0, 1.5))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Trial], list[Trial]]:
    """Puts a result in the place of the test on this machine, and says how often it was asked for."""
    library.library()  # compiled before the cache is another, empty folder
    (tmp_path / "kernels").mkdir()
    monkeypatch.setenv("CLEARFORMER_CACHE", str(tmp_path))
    monkeypatch.setattr(fastest, "_has_accelerator", lambda: False)

    def gives(trial: Trial) -> list[Trial]:
        asked: list[Trial] = []
        monkeypatch.setattr(fastest, "measure", lambda: asked.append(trial) or trial)
        return asked

    return gives


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    ("trial", "engine"),
    [
        (FASTER, "c"),
        (replace(FASTER, speedups=(2.0, 0.9)), "torch"),
        (replace(FASTER, error=2 * TOLERANCE), "torch"),
        (replace(FASTER, error=float("nan")), "torch"),
    ],
)
def test_c_takes_the_place_of_pytorch_where_it_is_exact_and_faster_at_every_batch(
    measured: Callable[[Trial], list[Trial]], trial: Trial, engine: EngineName
):
    measured(trial)
    notices: list[str] = []
    assert fastest_engine(CONFIG, notices.append) == engine
    assert f"{'C' if engine == 'c' else 'PyTorch'} decodes from now on, unless --engine says otherwise" in notices[-1]


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, engine="numpy"),
        replace(CONFIG, train=TrainConfig(device="cuda")),
        replace(CONFIG, train=TrainConfig(precision="bfloat16")),
    ],
)
def test_an_engine_a_device_and_a_precision_that_were_chosen_stay(
    measured: Callable[[Trial], list[Trial]], config: Config
):
    asked = measured(FASTER)
    assert fastest_engine(config, pytest.fail) == config.engine
    assert asked == []


@pytest.mark.usefixtures("compiled")
def test_a_machine_is_tested_once_and_again_where_the_kept_result_is_damaged(
    measured: Callable[[Trial], list[Trial]], tmp_path: Path
):
    asked = measured(FASTER)
    notices: list[str] = []
    assert [fastest_engine(CONFIG, notices.append) for _ in range(3)] == ["c"] * 3
    assert len(asked) == 1
    assert len(notices) == 2, "it is said once, too"
    (kept,) = (tmp_path / "kernels").glob("decoding-*.json")
    for damage in ("", "[]", '{"error": 1}', '{"error": 0, "speedups": 3}'):
        kept.write_text(damage)
        assert fastest_engine(CONFIG, notices.append) == "c"
    assert len(asked) == 5


def test_without_a_compiler_pytorch_decodes_and_nothing_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compiler, "COMPILERS", ())
    monkeypatch.setattr(compiler, "PACKAGE", "no_such_package")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(library, "library", library.library.__wrapped__)
    monkeypatch.setattr("clearformer.engines.c.engine.library", library.library)
    assert fastest_engine(CONFIG, pytest.fail) == "torch"


@pytest.mark.slow
@pytest.mark.usefixtures("compiled")
def test_the_test_compares_what_both_engines_compute():
    trial = fastest.measure()
    assert 0 < trial.error <= TOLERANCE
    assert len(trial.speedups) == len(fastest.BATCHES)
    assert min(trial.speedups) > 0
