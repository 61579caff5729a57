"""Numbers on the page, as it saves them, are those that `run.inspect` and the model have in PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import TARGET, TEXT, TOLERANCE

from clearformer.api.run import Run, open_run
from clearformer.blocks.attention import share_heads
from clearformer.inspection.measures import induction
from clearformer.inspection.reading import Reading
from clearformer.inspection.record import Trace, record

DIGITS = 0.0051
"""half of the last of the two digits that a score is shown with"""
HALF = 0.02
"""of the spread: weights of half precision, with 11 significant bits, in two layers; 0.003 measured"""
CORES = {
    "gpt": {"decoder": "decoder.layers.1.attention.core"},
    "bert": {"encoder": "encoder.layers.1.attention.core"},
    "classifier": {"encoder": "body.encoder.layers.1.attention.core"},
    "transformer": {
        "encoder": "encoder.layers.1.attention.core",
        "decoder": "decoder.layers.1.attention.core",
        "cross": "decoder.layers.1.cross_attention.core",
    },
}
HEAD = 3

pytestmark = pytest.mark.slow


@pytest.fixture(params=list(TEXT))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(family: str, run_folder: Callable[[str], Path]) -> Run:
    return open_run(run_folder(family), notify=lambda _: None)


@pytest.fixture
def reading(family: str, run: Run) -> Reading:
    return run.inspect(TEXT[family], TARGET if family == "transformer" else None)


@pytest.fixture
def trace(reading: Reading) -> Trace:
    with torch.inference_mode(), record(reading.model) as trace:
        reading.model(*reading.inputs)
    return trace


def numbers(rows: list[list[str]]) -> NDArray[Any]:
    """A table without the names of its columns and rows."""
    return np.array([[float(value) for value in row[1:]] for row in rows[1:]])


def assert_near(found: NDArray[Any], expected: NDArray[Any], tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.ptp(expected)


@pytest.mark.parametrize("options", [(), ("--precision", "half")], ids=["single", "half"])
def test_probabilities(
    options: tuple[str, ...], family: str, reading: Reading, page_of: Callable[..., Path], explorer: Any
):
    explorer.open(page_of(family, options=options), text=TEXT[family], target=TARGET)
    with torch.inference_mode():
        p = reading.model(*reading.inputs)[0].softmax(-1).numpy()
    row = {"classifier": p, "bert": p[2] if family == "bert" else None}.get(family, p[-1])
    found = numbers(explorer.rows())
    assert len(found) == min(10, len(row))
    assert_near(found[:, 1], row[found[:, 0].astype(int)], HALF if options else TOLERANCE)
    if not options:
        assert found[:, 0].tolist() == np.argsort(-row)[:10].tolist()


def test_attention(family: str, trace: Trace, page_of: Callable[..., Path], explorer: Any):
    """In the order of CORES: the weights, those times the length of values, those without the first key, the scores."""
    state = {"text": TEXT[family], "target": TARGET, "view": "attend", "layer": 1, "head": HEAD}
    explorer.open(page_of(family), **state)
    for part, core in CORES[family].items():
        q, k, v = (share_heads(trace[kind][core], 4)[0, HEAD].numpy() for kind in ("queries", "keys", "values"))
        weights = trace.attention[core][0, HEAD].numpy()

        def shown(part: str = part, **more: object) -> NDArray[Any]:
            explorer.go(**state, part=part, **more)
            return numbers(explorer.rows())

        found = shown()
        may = ~np.isnan(found)
        assert (weights[~may] == 0).all()
        assert_near(found[may], weights[may])
        assert_near(shown(show="values")[may], (weights * np.linalg.norm(v, axis=-1))[may])
        others = weights[:, 1:] / np.maximum(weights[:, 1:].sum(-1, keepdims=True), 1e-30)
        assert_near(shown(hideFirst="true")[:, 1:][may[:, 1:]], others[may[:, 1:]])
        found = shown(show="scores")
        exponentials = np.exp(np.where(may, found, -np.inf))
        assert_near(exponentials / exponentials.sum(-1, keepdims=True), weights)
        if family != "gpt":  # whose scores ALiBi lowers
            assert_near(found[may], (q @ k.T / 2)[may])  # 2: the root of a head's width


def test_scores_of_heads(family: str, reading: Reading, page_of: Callable[..., Path], explorer: Any):
    for part, core in CORES[family].items():
        explorer.open(page_of(family), text=TEXT[family], target=TARGET, view="attend", part=part)
        shown = explorer.page.get_by_role("button", name=f"Layer 1, head {HEAD}").get_attribute("title")
        found = dict(line.split(" ") for line in shown.splitlines())
        expected = reading.scores()[core, HEAD]
        assert found.keys() <= expected.keys() | {"induction"}
        for name in found.keys() & expected.keys():
            assert abs(float(found[name]) - expected[name]) <= DIGITS, name


def random_texts(vocab_size: int, n: int) -> list[list[int]]:
    """Eight texts of n tokens of a linear congruential generator, and the same again."""
    state, texts = 1, []
    for _ in range(8):
        half = []
        for _ in range(n):
            state = (state * 1664525 + 1013904223) % 2**32
            half.append(4 + int(state / 2**32 * (vocab_size - 4)))
        texts.append(half * 2)
    return texts


def test_induction(run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), view="attend", sort="induction", text="the fox")
    model = open_run(run_folder("gpt"), notify=lambda _: None).model
    n = model.config.context // 2
    with torch.inference_mode(), record(model) as trace:
        model(torch.tensor(random_texts(model.config.vocab_size, n)))
    for layer in range(2):
        expected = induction(trace.attention[f"decoder.layers.{layer}.attention.core"], n).tolist()
        for head, score in enumerate(expected):
            label = f"Layer {layer}, head {head}, induction, on random tokens {score:.2f}"
            assert explorer.page.get_by_role("button", name=label).count() == 1
