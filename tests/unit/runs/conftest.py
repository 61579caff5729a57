"""Small runs, their configurations, and what must be identical in equivalent runs."""

import re
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig, TransformerConfig
from clearformer.runs.folder import RunFolder, create_folder, open_folder
from clearformer.runs.session import train_run

SIZES = {"vocab_size": 60, "context": 16, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.1}
FAMILIES = {"gpt": GPTConfig(**SIZES), "transformer": TransformerConfig(**SIZES)}


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """`config("gpt", steps=3)`: a configuration of that family, with its data beside the run."""

    def make(family: str, **train: object) -> Config:
        data = tmp_path / {"gpt": "numbers.txt", "transformer": "numbers.tsv"}[family]
        if not data.exists():
            sources = [f"no. {number * number}" for number in range(300)]
            lines = sources if family == "gpt" else [f"{source}\t{source[::-1]}" for source in sources]
            data.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        settings = {"steps": 8, "batch_tokens": 300, "schedule": CosineSchedule(1e-2, 0.0, 2), "checkpoint_every": 3}
        settings |= {"validate_every": 4, "validation_tokens": 100, "device": "cpu"}
        return Config("mine", FAMILIES[family], data=(str(data),), train=TrainConfig(**(settings | train)))

    return make


@pytest.fixture
def make_run(tmp_path: Path, config: Callable[..., Config]) -> Callable[..., RunFolder]:
    """`make_run("gpt", "name", steps=3)`: a new run in a folder of that name. Any notice fails the test."""

    def make(family: str, name: str = "run", **train: object) -> RunFolder:
        return create_folder(tmp_path / name, config(family, **train), notify=pytest.fail)

    return make


@pytest.fixture
def resume() -> Callable[..., list[str]]:
    """`resume(folder, stop=3)`: train to update 3, or to the end, and close; returns the notices."""

    def train(folder: Path, stop: int | None = None) -> list[str]:
        notices: list[str] = []
        session = train_run(open_folder(folder, notices.append))
        for progress in session:
            if progress.record.step == stop:
                break
        session.close()
        return notices

    return train


@pytest.fixture
def outcome() -> Callable[[Path], dict[str, bytes]]:
    """Everything about a finished run that must be the same however often it was interrupted."""

    def read(folder: Path) -> dict[str, bytes]:
        newest = max((folder / "checkpoints").iterdir())
        assert re.fullmatch(r"step-\d{6}", newest.name)
        files = [folder / "metrics.jsonl", *sorted(newest.iterdir())]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return read


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_disk(1000):` no file can grow beyond 1,000 bytes; writing fails as on a full disk."""

    @contextmanager
    def limit(max_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
