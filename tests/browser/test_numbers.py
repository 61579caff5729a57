"""Numbers on the page are PyTorch's, for every family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Explorer
from numpy.typing import NDArray

from clearformer.api.run import Run, open_run
from clearformer.data.batches import collate
from clearformer.data.labelled import collate_labelled
from clearformer.inspection.record import record

TOLERANCE = 1e-4
"""of the spread of the numbers; sums of float32 in another order make about 1e-6"""

FAMILIES = ("gpt", "bert", "classifier", "transformer")
TEXT = {
    "gpt": "the quick brown fox, naïve 東京",
    "bert": "the quick <mask> fox jumps over zebras",
    "classifier": "the quick brown dog\tjumps",
    "transformer": "March 24, 2027",
}
TARGET = "2027-03"


def inputs_of(run: Run, family: str) -> tuple[Any, ...]:
    """What the PyTorch model takes."""
    encode = run.tokenizer.encode
    if family == "gpt":
        return (torch.tensor([encode(TEXT["gpt"])]),)
    if family == "bert":
        before, after = TEXT["bert"].split(" <mask>")
        tokens = torch.tensor([[*encode(before), 4, *encode(after)]])
        return tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens)
    if family == "classifier":
        arrays = collate_labelled([([encode(text) for text in TEXT["classifier"].split("\t")], 0)], 2).inputs
    else:
        arrays = collate([(encode(TEXT["transformer"]), encode(TARGET))]).inputs
    return tuple(torch.from_numpy(array) for array in arrays)


def assert_near(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)


def numbers(rows: list[list[str]], first: int = 1) -> NDArray[Any]:
    return np.array([[float(value) for value in row[first:]] for row in rows[1:]])


@pytest.fixture(params=FAMILIES)
def opened(request: pytest.FixtureRequest, run_folder: Callable[[str], Path]) -> tuple[str, Run, tuple[Any, ...]]:
    run = open_run(run_folder(request.param))
    return request.param, run, inputs_of(run, request.param)


def test_probabilities_are_those_of_pytorch(opened: Any, page_of: Callable[..., Path], explorer: Explorer):
    family, run, inputs = opened
    explorer.open(page_of(family), text=TEXT[family], target=TARGET)
    with torch.inference_mode():
        p = run.model(*inputs)[0].softmax(-1).numpy()
    row = p if family == "classifier" else p[2 if family == "bert" else -1]
    best = np.argsort(-row)[:10]
    found = numbers(explorer.rows())
    assert found[:, 0].tolist() == best.tolist()
    assert_near(found[:, 1], row[best])


@pytest.mark.parametrize("show", ["softmax", "scores", "values"])
def test_attention_is_that_of_pytorch(show: str, opened: Any, page_of: Callable[..., Path], explorer: Explorer):
    family, run, inputs = opened
    with torch.inference_mode(), record(run.model) as trace:
        run.model(*inputs)
    parts = {"encoder": ".attention", "decoder": ".attention", "cross": ".cross_attention"}
    for part in parts if family == "transformer" else ["encoder"]:
        name = next(name for name in trace.attention if "layers.1" in name and parts[part] in name)
        weights = trace.attention[name]
        print(name, weights.shape)
