"""A tiny run of each family, trained once by the command itself."""

from pathlib import Path

import pytest

from clearformer.cli.main import main

SMALL = ["--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"]
SHORT = ["--train.steps", "12", "--train.batch-tokens", "256", "--train.device", "cpu"]


@pytest.fixture(scope="session")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.tsv"
    path.write_text("".join(f"n {n}\t{n} n\n" for n in range(1000, 1400)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def text_run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "text"
    arguments = ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(folder)]
    assert main([*arguments, "--model.context", "16", *SMALL, *SHORT]) == 0
    return folder


@pytest.fixture(scope="session")
def pairs_run(pairs_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "pairs"
    arguments = ["train", "dates", "--data", str(pairs_file), "--out", str(folder)]
    assert main([*arguments, "--model.context", "16", *SMALL, *SHORT]) == 0
    return folder


@pytest.fixture(scope="session")
def masked_run(text_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "masked"
    arguments = ["train", "bert", "--data", str(text_file), "--out", str(folder), "--tokenizer", "word"]
    assert main([*arguments, "--model.context", "16", *SMALL, *SHORT]) == 0
    return folder


@pytest.fixture(scope="session")
def labelled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data") / "labelled.tsv"
    words = {"praise": ("good", "nice"), "blame": ("poor", "sad")}
    lines = [f"a {word} film number {n}\t{label}\n" for n in range(75) for label in words for word in words[label]]
    data.write_text("".join(lines), encoding="utf-8")
    folder = tmp_path_factory.mktemp("runs") / "labelled"
    arguments = ["train", "polarity", "--data", str(data), "--out", str(folder)]
    assert main([*arguments, "--model.context", "12", *SMALL, *SHORT]) == 0
    return folder
