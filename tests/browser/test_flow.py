"""Flow: the numbers of every box are PyTorch's, for every family and variant; each box shows its code."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from samples import TARGET, TEXT, TOLERANCE

import clearformer
from clearformer.api.run import open_run
from clearformer.inspection.reading import Reading
from clearformer.inspection.record import record

RUNS = (
    "gpt", "bert", "classifier", "transformer", "llama", "pre-norm bert", "gpt classifier", "pre-norm transformer",
)  # fmt: skip
"""those of conftest.py"""
LAYER, HEAD, HEADS = 1, 3, 4
PACKAGE = Path(clearformer.__file__).parent

Seen = dict[str, list[NDArray[Any]]]


def seen_by_hooks(reading: Reading) -> Seen:
    """What every module of the PyTorch model returns, and with ".input" reads, in a pass on one text; of each call."""
    seen: Seen = {}

    def see(name: str, read: tuple[Any, ...], out: Any) -> None:
        named = {f"{name}.input": read[0] if read else None, name: out}
        if name.endswith(".core"):
            named |= dict(zip((f"{name}.queries", f"{name}.keys", f"{name}.values"), read, strict=False))
        for key, value in named.items():
            if isinstance(value, torch.Tensor):
                seen.setdefault(key, []).append(value.numpy())

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in reading.model.named_modules():
            hook = module.register_forward_hook(lambda _, read, out, name=name: see(name, read, out))
            hooks.callback(hook.remove)
        trace = hooks.enter_context(record(reading.model, "attention"))
        reading.model(*reading.inputs)
    return seen | {f"{name}.weights": [weights.numpy()] for name, weights in trace.attention.items()}


def expected(box: str, place: str, seen: Seen) -> NDArray[Any]:
    """The numbers of a box [rows, columns], of the head that it shows."""
    stack, _, kind = box.rpartition(".")
    if box == "probabilities":
        logits = seen.get("class_projection") or seen["output_projection"]
        return torch.from_numpy(np.atleast_2d(logits[0][0])).softmax(-1).numpy()
    if box == "pooled":
        return seen["class_projection.input"][0]
    if kind in ("embedding", "positions", "ngrams", "segments"):
        calls = seen.get(kind) or seen[f"body.{kind}"]  # an encoder-decoder embeds twice, the source first
        found = calls[-1 if stack == "decoder" else 0]
        return found if kind == "positions" else found[0]  # which have no batch
    found = seen[place][0][0]
    return np.atleast_2d(found[HEAD * len(found) // HEADS] if found.ndim == 3 else found)


def shown(explorer: Any) -> NDArray[Any]:
    """The numbers of the chosen box."""
    _, *rows = explorer.rows(1)
    return np.array([[float(value) for value in row[1:]] for row in rows])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_numbers_of_every_box_are_those_of_pytorch(
    name: str, run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    run = open_run(run_folder(name), notify=lambda _: None)
    family = run.config.model.kind
    seen = seen_by_hooks(run.inspect(TEXT[family], TARGET if family == "transformer" else None))
    explorer.open(page_of(name), view="flow", text=TEXT[family], target=TARGET, layer=LAYER, head=HEAD)
    page, boxes = explorer.page, []
    while True:
        box = page.locator(".diagram [aria-pressed=true]").get_attribute("data-box") or ""
        place = page.locator(".details h3 code").text_content() if page.locator(".details h3 code").count() else ""
        assert box not in boxes
        boxes.append(box)
        if not box.endswith(".tokens"):
            found, numbers = shown(explorer), expected(box, place or "", seen)
            assert found.shape == numbers.shape, box
            assert np.abs(found - numbers).max() <= TOLERANCE * np.ptp(numbers), box
            said = page.locator(".details").inner_text()
            assert not re.search("undefined|NaN|null", said), said
            assert page.locator(".code mark").count() == page.locator(".code").count() > 0, box
        if page.get_by_role("button", name="Next").is_disabled():
            break
        page.get_by_role("button", name="Next").click()
        explorer.settle()
    assert len(boxes) >= 16
    assert boxes[-1] == "probabilities"


def test_the_marked_line_is_the_one_in_the_package(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), view="flow", text=TEXT["gpt"], box="decoder.layer.attention_residual")
    summary = explorer.page.locator(".code summary").text_content() or ""
    file, number = summary.removeprefix("PreNormResidual.forward ").split(", line ")
    line = (PACKAGE.parent / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    marked = explorer.page.locator(".code mark").text_content().strip()
    assert line.strip() == marked == "return x + self.dropout(sublayer(self.norm(x)))"


def test_a_click_and_keys_choose_boxes_and_a_reload_keeps_the_choice(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("transformer"), view="flow", text=TEXT["transformer"], target=TARGET)
    page = explorer.page
    page.get_by_role("button", name="Layer 1").first.click()
    explorer.settle()
    assert page.locator(".details h3 code").text_content() == "encoder.layers.1.attention.core.queries"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    explorer.settle()
    page.wait_for_url("**core.keys*")
    page.reload()
    explorer.settle()
    assert page.locator(".details h3").text_content().startswith("Keys G 4 × S 15 × E 4")
    page.get_by_role("group", name="Walk").get_by_role("button", name="Back").click()
    explorer.settle()
    assert page.locator(".details h3 code").text_content() == "encoder.layers.1.attention.core.queries"
