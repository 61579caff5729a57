"""Milliseconds from a typed character to what the page shows of it, and of a pointer over a heat map, in Chromium.

    python benchmarks/engines/explorer.py --rounds 40 --page runs/demo/explore.html

The model is a GPT of 6 layers, width 384 and 6 heads, the text has 128 tokens, of which the last changes. A change is
shown when a frame of the finished view has been drawn. --page also times how long another page takes from its
navigation until its first view is shown. Prints one JSON object.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import step
from playwright.sync_api import Page, sync_playwright

from clearformer.config import Config, GPTConfig
from clearformer.data.tokenizers import train_tokenizer
from clearformer.explorer.explore import explore
from clearformer.models.initial import count_parameters, initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.folder import open_folder

TOKENS = 128
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VIEWS = ("type", "attend", "predict", "cut", "lens", "learn", "flow")
SHOWN = """() => new Promise((done) => {
    const look = () => {
        const view = document.querySelector("section.view");
        const drawn = () => setTimeout(() => done(performance.now()));
        if (view?.getAttribute("aria-busy") === "false") requestAnimationFrame(drawn);
        else setTimeout(look, 1);
    };
    look();
})"""
"""the time since the navigation at which a finished view has been drawn"""
TYPE = f"""async (texts) => {{
    const area = document.querySelector("textarea"), shown = {SHOWN}, times = [];
    for (const text of texts) {{
        const start = performance.now();
        area.value = text;
        area.dispatchEvent(new Event("input", {{ bubbles: true }}));
        times.push((await shown()) - start);
    }}
    return times;
}}"""
HOVER = """async (rounds) => {
    const canvas = document.querySelector("figure canvas"), place = canvas.getBoundingClientRect(), times = [];
    for (let i = 1; i <= rounds; i++) {
        const at = (side) => side * i / (rounds + 1), start = performance.now();
        const options = { bubbles: true, clientX: place.x + at(place.width), clientY: place.y + at(place.height) };
        canvas.dispatchEvent(new PointerEvent("pointermove", options));
        document.body.getBoundingClientRect(); /* the layout is part of it */
        times.push(performance.now() - start);
        await new Promise(requestAnimationFrame);
    }
    return times;
}"""


def write_page(folder: Path) -> tuple[Path, int]:
    """The page of a model with random weights, and its number of parameters."""
    tokenizer = train_tokenizer("character", [LETTERS], 64)
    model = GPTConfig(
        vocab_size=tokenizer.vocab_size, context=TOKENS, d_model=384, num_heads=6, num_layers=6, d_ff=1536
    )
    run, page = folder / "run", folder / "explore.html"
    run.mkdir()
    (run / "config.json").write_text(Config(dataset="", model=model).to_json(), encoding="utf-8")
    tokenizer.save(run / "tokenizer.json")
    save_checkpoint(run / "checkpoints", Checkpoint(1, {"model": initial_weights(model, 1), "optimizer": {}}), keep=1)
    explore([open_folder(run, print)], page, notify=print)
    return page, count_parameters(model)


def summary(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {"median": round(statistics.median(times), 1), "p95": round(times[int(0.95 * len(times))], 1)}


def open_page(page: Page, file: Path, **state: object) -> float:
    """How long it took."""
    page.goto("about:blank")  # another state alone would not load the page
    page.goto(f"{file.resolve().as_uri()}#{urlencode(state)}")
    return float(page.evaluate(SHOWN))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--views", nargs="+", default=VIEWS)
    parser.add_argument("--page", type=Path, help="a page to open")
    options = parser.parse_args()
    text = (LETTERS * TOKENS)[: TOKENS - 1]
    found: dict[str, Any] = {"processor": step.processor()}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        file, found["parameters"] = write_page(Path(folder))
        found["chromium"], found["bytes"] = browser.version, file.stat().st_size
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        for view in options.views:
            open_page(page, file, view=view, text=text)
            page.evaluate(TYPE, [text + letter for letter in LETTERS[:5]])  # until it is compiled
            found[view] = summary(page.evaluate(TYPE, [text + LETTERS[i % 26] for i in range(options.rounds)]))
        open_page(page, file, view="attend", text=text)
        found["hover"] = summary(page.evaluate(HOVER, options.rounds))
        if options.page:
            found["opened"] = summary([open_page(page, options.page) for _ in range(10)])
            found["opened"]["bytes"] = options.page.stat().st_size
        browser.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
