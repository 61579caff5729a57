"""Two small runs of the demo's recipes, barely trained."""

import dataclasses
from pathlib import Path

import pytest

from clearformer import recipes
from clearformer.runs.folder import RunFolder, create_folder
from clearformer.runs.session import train_run


def _trained(folder: Path, name: str, steps: int) -> RunFolder:
    whole = recipes.RECIPES[name]()
    train = dataclasses.replace(whole.train, steps=steps, batch_tokens=512, device="cpu")
    model = dataclasses.replace(whole.model, num_layers=1)
    run = create_folder(folder / name, dataclasses.replace(whole, train=train, model=model), lambda _: None)
    for _ in train_run(run):
        continue
    return run


@pytest.fixture(scope="session")
def dates(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return _trained(tmp_path_factory.mktemp("demo"), "dates", steps=2)


@pytest.fixture(scope="session")
def pydocs(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return _trained(tmp_path_factory.mktemp("demo"), "pydocs", steps=2)
