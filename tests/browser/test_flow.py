"""Flow: the numbers of every box are PyTorch's, for every family and variant; each box shows the code that computes it."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, VARIANTS, Explorer
from numpy.typing import NDArray
from test_numbers import TARGET, TEXT, assert_near, inputs_of, numbers

import clearformer
from clearformer.api.run import Run, open_run
from clearformer.inspection.record import record

HEAD = 3
LAYER = 1
SOURCE = Path(clearformer.__file__).parent


def seen_by_hooks(run: Run, inputs: tuple[Any, ...]) -> dict[str, list[NDArray[Any]]]:
    """What every module of the PyTorch model returns, and with ".input" reads, in a pass on one text; of each call."""
    seen: dict[str, list[NDArray[Any]]] = {}

    def see(name: str, read: tuple[Any, ...], out: Any) -> None:
        named = {f"{name}.input": read[0] if read else None, name: out}
        if name.endswith(".core"):
            named |= dict(zip((f"{name}.queries", f"{name}.keys", f"{name}.values"), read, strict=False))
        for key, value in named.items():
            if isinstance(value, torch.Tensor):
                seen.setdefault(key, []).append(value[0].numpy())

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in run.model.named_modules():
            hook = module.register_forward_hook(lambda _, read, out, name=name: see(name, read, out))
            hooks.callback(hook.remove)
        trace = hooks.enter_context(record(run.model, "attention"))
        run.model(*inputs)
    return seen | {f"{name}.weights": [weights[0].numpy()] for name, weights in trace.attention.items()}


def expected(box: str, place: str, seen: dict[str, list[NDArray[Any]]], family: str) -> NDArray[Any]:
    """The numbers of a box [rows, columns], of the head that it shows."""
    stack, _, kind = box.rpartition(".")
    if box == "probabilities":
        logits = seen["class_projection" if family == "classifier" else "output_projection"][0]
        return np.atleast_2d(torch.from_numpy(logits).softmax(-1).numpy())
    if box == "pooled":
        return seen["class_projection.input"][0][None]
    if kind in ("embedding", "positions", "ngrams", "segments"):
        calls = seen[f"body.{kind}" if family == "classifier" else kind]
        return calls[-1] if stack == "decoder" else calls[0]
    found = seen[place][0]
    return np.atleast_2d(found[HEAD * len(found) // run_heads(family)] if found.ndim == 3 else found)


def run_heads(family: str) -> int:
    return CONFIGS[family].num_heads


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CONFIGS, *VARIANTS])
def test_the_numbers_of_every_box_are_those_of_pytorch(
    name: str, run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Explorer
):
    run = open_run(run_folder(name))
    family = run.config.model.kind
    seen = seen_by_hooks(run, inputs_of(run, family))
    explorer.open(page_of(name), view="flow", text=TEXT[family], target=TARGET, layer=LAYER, head=HEAD)
    page, boxes = explorer.page, []
    while True:
        box = page.locator(".diagram [aria-pressed=true]").get_attribute("data-box") or ""
        place = page.locator(".details h3 code").text_content() if page.locator(".details h3 code").count() else ""
        boxes.append(box)
        if not box.endswith(".tokens"):
            assert_near(numbers(explorer.rows(1)), expected(box, place or "", seen, family))
            assert page.locator(".code mark").count() == page.locator(".code").count() > 0, box
        if page.get_by_role("button", name="Next").is_disabled():
            break
        page.get_by_role("button", name="Next").click()
        explorer.settle()
    assert len(set(boxes)) == len(boxes) >= 16
    assert boxes[-1] == "probabilities"


def test_the_marked_line_is_the_one_in_the_package(page_of: Callable[..., Path], explorer: Explorer):
    explorer.open(page_of("gpt"), view="flow", text=TEXT["gpt"], box="decoder.layer.attention_residual")
    file, number = (explorer.page.locator(".code summary").text_content() or "").removeprefix("PreNormResidual.forward ").split(", line ")
    line = (SOURCE.parent / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert line.strip() == explorer.page.locator(".code mark").text_content().strip() == "return x + self.dropout(sublayer(self.norm(x)))"


def test_a_click_and_keys_choose_boxes_and_a_reload_keeps_the_choice(page_of: Callable[..., Path], explorer: Explorer):
    explorer.open(page_of("transformer"), view="flow", text=TEXT["transformer"], target=TARGET)
    page = explorer.page
    page.get_by_role("button", name="Layer 1").first.click()
    explorer.settle()
    assert page.locator(".details h3 code").text_content() == "encoder.layers.1.attention.core.queries"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    explorer.settle()
    page.wait_for_function("location.hash.includes('core.keys')")
    page.reload()
    explorer.settle()
    assert page.locator(".details h3").text_content().startswith("Keys G 4 × S 15 × E 4")
    page.get_by_role("group", name="Walk").get_by_role("button", name="Back").click()
    explorer.settle()
    assert page.locator(".details h3 code").text_content() == "encoder.layers.1.attention.core.queries"
