"""Cut and Lens: their numbers, as the page saves them, are those of `inspection` in PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import TOLERANCE

from clearformer.api.run import open_run
from clearformer.inspection.ablate import ablate
from clearformer.inspection.attribution import integrated_gradients
from clearformer.inspection.contributions import contributions
from clearformer.inspection.families import last_stack
from clearformer.inspection.lens import logit_lens
from clearformer.inspection.patch import patch
from clearformer.inspection.reading import Reading
from clearformer.inspection.record import record

pytestmark = pytest.mark.slow

TEXTS = {  # two of as many tokens each, some of them twice
    "gpt": ("the quick brown fox, the fox", "the quick brown dog, the dog"),
    "bert": ("the quick <mask> fox jumps the fox", "the lazy <mask> dog jumps the dog"),
    "classifier": ("the quick brown the dog\tjumps", "the lazy brown the fox\tjumps"),
    "transformer": ("March 24, 2027", "March 14, 2021"),
}
TARGET = "2027-02"
AT, OUTPUT = 2, 7
LETTER = {"gpt": "d", "bert": "e", "classifier": "e", "transformer": "d"}
"""of the last stack, in the address"""


@pytest.fixture(params=list(TEXTS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def readings(family: str, run_folder: Callable[[str], Path]) -> tuple[Reading, ...]:
    run = open_run(run_folder(family), notify=lambda _: None)
    return tuple(run.inspect(text, TARGET if family == "transformer" else None) for text in TEXTS[family])


@pytest.fixture
def output(family: str) -> int:
    return 1 if family == "classifier" else OUTPUT


@pytest.fixture
def shown(family: str, output: int, page_of: Callable[..., Path], explorer: Any) -> Callable[..., Any]:
    """Open a view of the page on the first text, and wait for its long work."""

    def open_view(view: str, **state: object) -> Any:
        text = {"text": TEXTS[family][0], "target": TARGET if family == "transformer" else ""}
        explorer.open(page_of(family), **text, view=view, at=AT, output=output, **state)
        explorer.page.wait_for_selector(".view [aria-busy=true]", state="detached")
        return explorer

    return open_view


def column(rows: list[list[str]], number: int) -> NDArray[Any]:
    return np.array([float(row[number]) for row in rows[1:]])


def assert_near(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)


def log_probabilities(reading: Reading) -> NDArray[Any]:
    """Of every token's outputs; a classifier's are at token AT, too."""
    with torch.inference_mode():
        logits = reading.model(*reading.inputs).log_softmax(-1).numpy()
    return np.repeat(logits, AT + 1, 0) if logits.ndim == 2 else logits[0]


def test_lens_and_norms_are_those_of_pytorch(readings: tuple[Reading, ...], shown: Callable[..., Any]):
    reading, explorer = readings[0], shown("lens", attribute="false")
    with torch.inference_mode(), record(reading.model, "stream") as trace:
        p = logit_lens(reading.model, reading.inputs)[:, 0].softmax(-1).numpy()
    assert_near(column(explorer.rows(0), 4), p.max(-1).ravel())
    outputs = [reading._output(number) for number in p.argmax(-1).ravel().tolist()]
    assert [row[3].removeprefix("'") for row in explorer.rows(0)[1:]] == outputs
    assert_near(column(explorer.rows(1), 2), np.sort(p[-1, AT])[::-1][:10])
    stacks = ["encoder", "decoder"] if len(reading.texts) == 2 else [last_stack(reading.model)[0]]
    for number, stack in enumerate(stacks):
        norms = [x[0].norm(dim=-1).numpy() for name, x in trace["stream"].items() if name.startswith(f"{stack}.")]
        assert_near(np.array([row[1:] for row in explorer.rows(3 + number)[1:]], float), np.array(norms))


def test_contributions_sum_to_the_logit_and_are_those_of_pytorch(
    readings: tuple[Reading, ...], output: int, shown: Callable[..., Any]
):
    rows = shown("lens", attribute="false").rows(2)
    parts = contributions(readings[0].model, readings[0].inputs, output, AT)
    assert [row[0] for row in rows[1:]] == [*parts, "sum"]
    values = [float(value) for value in parts.values()]
    with torch.inference_mode():
        logits = readings[0].model(*readings[0].inputs)[0]
    logit = logits[output] if logits.dim() == 1 else logits[AT, output]
    assert_near(column(rows, 1), np.array([*values, float(logit)]))


def test_attribution_is_that_of_pytorch(readings: tuple[Reading, ...], output: int, shown: Callable[..., Any]):
    explorer = shown("lens")
    expected = integrated_gradients(readings[0].model, readings[0].inputs, output, AT).texts
    found = [column(explorer.rows(3 + number), 2) for number in range(len(expected))]
    assert_near(np.concatenate(found), torch.cat(expected).numpy())


def test_cut_and_patched_parts_change_what_they_change_in_pytorch(
    family: str, readings: tuple[Reading, ...], output: int, shown: Callable[..., Any]
):
    first, second = readings
    stack, letter = last_stack(first.model)[0], LETTER[family]
    cuts = f"{letter}0h1x0,{letter}1n5x0,{letter}1fp"
    explorer = shown("cut", cuts=cuts, second=TEXTS[family][1], only="1,2", sweep="false")
    with torch.inference_mode(), record(second.model) as trace:
        second.model(*second.inputs)
    before = log_probabilities(first)
    places = (f"{stack}.layers.0.attention.core", 1), (f"{stack}.layers.1.feed_forward.linear2", 5)
    with (
        ablate(first.model, *places, positions=[1, 2]),
        patch(first.model, trace, f"{stack}.layers.1.feed_forward", positions=[1, 2]),
    ):
        after = log_probabilities(first)
    rows = explorer.rows(0)
    ids = column(rows, 1).astype(int)
    assert output in ids
    assert (np.diff(column(rows, 4)) <= 0).all()
    assert_near(column(rows, 2), before[AT, ids])
    assert_near(column(rows, 3), after[AT, ids])
    if family in ("gpt", "transformer"):
        own = first.inputs[0 if family == "gpt" else 1][0, 1:].numpy()
        rows = explorer.rows(1)[: len(own) + 1]
        assert_near(column(rows, 3), (after - before)[np.arange(len(own)), own])


def test_a_scaled_part_is_multiplied(family: str, readings: tuple[Reading, ...], shown: Callable[..., Any]):
    rows = shown("cut", cuts=f"{LETTER[family]}0fx-0.5", sweep="false").rows(0)
    model = readings[0].model
    layer = model.get_submodule(f"{last_stack(model)[0]}.layers.0.feed_forward")
    with layer.register_forward_hook(lambda _module, _inputs, output: -0.5 * output):
        after = log_probabilities(readings[0])
    assert_near(column(rows, 3), after[AT, column(rows, 1).astype(int)])


def test_every_head_cut_in_turn_is_that_of_pytorch(
    family: str, readings: tuple[Reading, ...], output: int, shown: Callable[..., Any]
):
    reading, explorer = readings[0], shown("cut")
    with torch.inference_mode(), record(reading.model, "attention") as trace:
        reading.model(*reading.inputs)
    before, expected = log_probabilities(reading)[AT, output], {}
    for core, weights in trace.attention.items():
        *_, layer, kind, _ = core.split(".")
        stack = f"{core.split('.')[0]} " if family == "transformer" else ""
        prefix = "cross-attention " if kind == "cross_attention" else stack
        for head, rows in enumerate(weights[0]):
            with ablate(reading.model, (core, head)):
                change = log_probabilities(reading)[AT, output] - before
            choice = (rows > 0).sum(-1) > 1
            expected[f"{prefix}layer {layer} head {head}"] = float(rows.amax(-1)[choice].mean()), change
    rows = explorer.rows(explorer.page.locator("figure").count() - 1)
    assert {row[0] for row in rows[1:]} == set(expected)
    for number in (1, 2):
        assert_near(column(rows, number), np.array([expected[row[0]][number - 1] for row in rows[1:]]))
