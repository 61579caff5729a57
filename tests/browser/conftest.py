"""A small run of each family, with random weights, and its page in Chromium. A request of the page fails its test."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clearformer.cli.main import main
from clearformer.config import (
    AnyModelConfig,
    BERTConfig,
    ClassifierConfig,
    Config,
    GPTConfig,
    TrainConfig,
    TransformerConfig,
)
from clearformer.data.tokenizers import train_tokenizer
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests/unit/engines/c"), str(ROOT / "benchmarks/robustness")]

SIZES: dict[str, Any] = {"vocab_size": 300, "context": 24, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24}
CONFIGS: dict[str, AnyModelConfig] = {
    "gpt": GPTConfig(**SIZES, num_kv_heads=2, positions="alibi", window=5),
    "bert": BERTConfig(**SIZES, positions="rotary"),
    "classifier": ClassifierConfig(**SIZES, num_classes=3, segments=2),
    "transformer": TransformerConfig(**SIZES),
    "long": GPTConfig(**{**SIZES, "context": 128}),
}
VARIANTS: dict[str, AnyModelConfig] = {
    "llama": GPTConfig(
        **SIZES, num_kv_heads=1, norm="rms", activation="swiglu", positions="rotary", qk_norm=True, bias=False,
        ngram_buckets=9, logit_cap=5.0, tie_embeddings=False, scale_embeddings=True,
    ),
    "pre-norm bert": BERTConfig(**SIZES, norm="rms", norm_order="pre", activation="squared_relu", ngram_buckets=9),
    "gpt classifier": ClassifierConfig(
        **SIZES, body="gpt", pooling="mean", norm="none", activation="geglu", positions="none", num_classes=3
    ),
    "pre-norm transformer": TransformerConfig(
        **SIZES, norm_order="pre", activation="gelu", num_kv_heads=2, positions="relative"
    ),
}  # fmt: skip
"""settings that no family above has"""
TOKENIZERS = {"gpt": "bpe", "bert": "word", "classifier": "word", "transformer": "character", "long": "character"}
TEXTS = ["the quick brown fox jumps over the lazy dog", "March 14, 2027", "<img src=x onerror=hacked=1>"]
CLASSES = ["praise", "blame", "<b>neither</b>"]
EVIL, KEPT = "<img src=x onerror=hacked=1>\u202e\u200b", ["the", " quick", " brown", " fox", ","]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 90_000
"""milliseconds for what is expected of a page, on a machine that is busy"""
expect.set_options(timeout=PATIENCE)
LIMIT = 240
"""seconds of a test, after which Chromium is ended: `evaluate`, `count` and others of Playwright wait without end"""


@pytest.fixture(scope="session")
def living() -> Iterator[Callable[[], Browser]]:
    """Gives an installed Chromium, or another if it has ended. A test without one is skipped, but fails in CI."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        (pytest.fail if "CI" in os.environ else pytest.skip)("Chromium was expected, found none; install chromium")
    with sync_playwright() as playwright:
        launched: list[Browser] = []

        def newest() -> Browser:
            if not launched or not launched[-1].is_connected():
                launched.append(playwright.chromium.launch(executable_path=path, args=["--no-sandbox"]))
            return launched[-1]

        yield newest


@pytest.fixture
def browser(living: Callable[[], Browser]) -> Iterator[Browser]:
    """Chromium for one test, which fails if it takes longer than LIMIT."""
    browser = living()
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    number = next(each["id"] for each in processes if each["type"] == "browser")
    timer = threading.Timer(LIMIT, os.kill, (number, signal.SIGKILL))
    timer.start()
    yield browser
    timer.cancel()
    assert browser.is_connected(), f"Chromium was expected to answer within {LIMIT} seconds, but it hung or crashed"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of a family, with checkpoints of random weights, so that no part is without effect."""
    home = tmp_path_factory.mktemp("runs")

    def make(family: str) -> Path:
        folder = home / f"{family} <i>run"
        if not folder.exists():
            from imported_run import FAMILIES, write_imported_run

            (write_imported_run if family in FAMILIES else write_run)(folder, family)
        return folder

    return make


def write_run(folder: Path, family: str) -> None:
    folder.mkdir()
    chosen = (CONFIGS | VARIANTS)[family]
    tokenizer = train_tokenizer(TOKENIZERS[chosen.kind], TEXTS, SIZES["vocab_size"], mask=chosen.kind == "bert")  # type: ignore[arg-type]
    model = dataclasses.replace(chosen, vocab_size=tokenizer.vocab_size)
    config = Config(dataset="", model=model, train=TrainConfig(keep_checkpoints=3, average_checkpoints=2))
    tokenizer.save(folder / "tokenizer.json")
    if family == "bert":
        rename_tokens(folder / "tokenizer.json")
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps({"classes": CLASSES}), encoding="utf-8")
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss": 3.5}\n', encoding="utf-8")
    for step in (1, 2, 3):
        rng = np.random.default_rng(step)
        weights = initial_weights(model, 1).items()
        noisy = {name: (x + rng.normal(0, 0.2, x.shape)).astype(np.float32) for name, x in weights}
        save_checkpoint(folder / "checkpoints", Checkpoint(step, {"model": noisy, "optimizer": {}}), keep=3)


def rename_tokens(path: Path) -> None:
    """Make a vocabulary hostile, but for a few words and the special tokens."""
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    content["model"]["vocab"] = {
        word if number < 5 or word in KEPT else EVIL + word: number for word, number in words.items()
    }
    path.write_text(json.dumps(content), encoding="utf-8")


class Explorer:
    """A page that is open in the browser. Every request but for its own file, and every error in it, is remembered."""

    def __init__(self, page: Page) -> None:
        self.page, self.faults = page, list[str]()
        page.on("request", lambda request: self._note(request.url, request.url.startswith(("file:", "blob:", "data:"))))
        page.on("pageerror", lambda error: self._note(str(error), False))
        page.on("console", lambda message: self._note(message.text, message.type != "error"))

    def _note(self, words: str, fine: bool) -> None:
        if not fine:
            self.faults.append(words)

    def open(self, file: Path, **state: object) -> None:
        """Open the page with this state in its address, and wait for what it shows."""
        self.page.goto("about:blank")  # another state alone would not load the page
        self.page.goto(f"{file.as_uri()}#{urlencode(state)}")
        self.settle()

    def go(self, **state: object) -> None:
        """Another state of the page that is open."""
        change = """hash => new Promise((done, fail) => {
            addEventListener("hashchange", () => done(), { once: true });
            setTimeout(() => fail(Error("the state is the same")), 10_000);
            location.hash = hash;
        })"""
        self.page.evaluate(change, urlencode(state))
        self.settle()

    def settle(self) -> None:
        """Wait until the view shows what the state says."""
        self.page.wait_for_selector("[aria-busy=false], .start", state="attached")

    def type(self, name: str, text: str) -> None:
        self.page.get_by_label(name, exact=True).fill(text)
        self.settle()

    def rows(self, figure: int = 0) -> list[list[str]]:
        """The numbers of a figure, as its file has them."""
        with self.page.expect_download() as download:
            self.page.locator("figure").nth(figure).get_by_role("button", name="Save as CSV").click()
        with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))


@pytest.fixture
def explorer(browser: Browser) -> Iterator[Explorer]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE)
    explorer = Explorer(context.new_page())
    yield explorer
    context.close()
    assert explorer.faults == []


@pytest.fixture(scope="session")
def page_of(run_folder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The file that the command writes for runs of these families."""
    home, files = tmp_path_factory.mktemp("pages"), dict[tuple[str, ...], Path]()

    def make(*families: str, options: tuple[str, ...] = ()) -> Path:
        key = (*families, *options)
        if key not in files:
            files[key] = home / f"{len(files)}.html"
            folders = [str(run_folder(family)) for family in families]
            assert main(["explore", *folders, "--no-open", "--out", str(files[key]), *options]) == 0
        return files[key]

    return make
