"""A report is one self-contained, accessible file, with the values of the run's files."""

import io
import json
import re
import shlex
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from clearformer.cli.main import main
from clearformer.inspection import page
from clearformer.inspection.figures import loss_curve, svg
from clearformer.inspection.maps import attention_figure
from clearformer.inspection.report import write_run_report
from clearformer.inspection.samples import mark_differences
from clearformer.runs.folder import open_folder

TINY = [
    *("--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"),
    *("--train.steps", "3", "--train.batch-tokens", "256", "--train.device", "cpu", "--model.context", "32"),
]
TEXT = "The <quick> brown fox & friend jumps over the lazy dog.\n\n" * 60
LABELS = "".join(f"a <good> film {n},x&y\na poor film {n},z\n" for n in range(40))
FAMILIES = {
    "transformer": ("dates", "pairs.tsv", "".join(f"see <{n}> & go\t{n}\n" for n in range(80))),
    "gpt": ("tinyshakespeare", "text.txt", TEXT),
    "bert": ("bert", "text.txt", TEXT),
    "classifier": (
        "polarity",
        "labels.csv",
        f"text,label\n{LABELS}",
    ),
}
AA = 4.5
"""minimum contrast of text, WCAG 2.2 level AA"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny run of a family, trained once."""
    home, folders = tmp_path_factory.mktemp("runs"), dict[str, Path]()

    def make(family: str) -> Path:
        if family not in folders:
            recipe, name, content = FAMILIES[family]
            (home / name).write_text(content, encoding="utf-8")
            folders[family] = home / f"{family} run"
            assert main(["train", recipe, "--data", str(home / name), "--out", str(folders[family]), *TINY]) == 0
        return folders[family]

    return make


class Page(HTMLParser):
    """A report's tags with their attributes, its texts and its <code> elements."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.content = (folder / "report.html").read_text(encoding="utf-8")
        self.feed(self.content)
        self.code = [text for tag, text in self.texts if tag == "code" and text.strip()]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags:
            self.texts.append((self.tags[-1][0], data))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_report_needs_no_other_file_and_no_script(run_folder: Callable[[str], Path], family: str):
    report = Page(run_folder(family))
    assert not {tag for tag, _ in report.tags} & {"script", "link", "iframe", "object", "embed"}
    assert not re.search(r"@import|url\((?!#)", report.content)
    addresses = [
        value
        for _, attributes in report.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert addresses.pop() == "explore.html"  # a link to what another command writes
    assert all(str(address).startswith(("#", "data:image/png;base64,")) for address in addresses)
    named = Counter(attributes["id"] for _, attributes in report.tags if "id" in attributes)
    assert max(named.values()) == 1
    assert [tag for tag, _ in report.tags].count("svg") == 2  # the curve and the attention
    assert all(attributes["aria-label"] for tag, attributes in report.tags if tag == "svg")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_results_at_the_top_are_those_of_the_run_s_files(run_folder: Callable[[str], Path], family: str):
    texts = [text for _, text in Page(run_folder(family)).texts]
    last = json.loads((run_folder(family) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert texts[texts.index("steps") - 1] == f"{last['step']} of 3"
    (name,) = (text for text in texts if text.startswith("validation loss"))
    assert float(texts[texts.index(name) - 1]) == pytest.approx(last["validation_loss"], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_each_command_at_the_end_runs(
    run_folder: Callable[[str], Path], family: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    shell, (python,) = Page(run_folder(family)).code[:-1], Page(run_folder(family)).code[-1:]
    assert len(shell) == 4
    for line in shell:
        *typed, command = line.rsplit(" | ", 1)
        lines = "".join(shlex.split(echo)[1] + "\n" for echo in typed)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        program, *arguments = shlex.split(command)
        assert program == "clearformer"
        assert main(arguments) == 0
    exec(python, {})
    assert (tmp_path / "attention.svg").read_text(encoding="utf-8").startswith("<svg")


def test_texts_of_a_run_are_escaped(run_folder: Callable[[str], Path]):
    for family, (expected, raw) in {
        "transformer": ("see &lt;", "see <"),
        "gpt": ("The &lt;quick&gt; brown", "<quick>"),
        "bert": ("The &lt;quick&gt; brown", "<quick>"),
        "classifier": ("x&amp;y", "<good>"),
    }.items():
        content = Page(run_folder(family)).content
        assert expected in content
        assert raw not in content


@pytest.mark.slow
def test_a_run_without_metrics_and_one_with_a_short_context_have_a_report(
    run_folder: Callable[[str], Path], tmp_path: Path
):
    run_folder("gpt")
    text = run_folder("gpt").parent / "text.txt"
    arguments = ["train", "tinyshakespeare", "--data", str(text), "--out", str(tmp_path / "run"), *TINY]
    assert main([*arguments, "--model.context", "4"]) == 0
    (tmp_path / "run" / "metrics.jsonl").unlink()
    write_run_report(open_folder(tmp_path / "run", print))
    assert "metrics.jsonl has no steps" in Page(tmp_path / "run").content


@pytest.mark.parametrize("palette", [page.LIGHT | page.MORE_LIGHT, page.DARK | page.MORE_DARK], ids=["light", "dark"])
def test_every_text_colour_has_enough_contrast_on_both_backgrounds(palette: dict[str, str]):
    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for background in ("paper", "card"):
        for ink in palette.keys() - {"paper", "card", "line"}:
            dark, light = sorted(luminance(palette[name]) for name in (background, ink))
            assert (light + 0.05) / (dark + 0.05) >= AA, f"{ink} on {background}"


def test_a_page_supports_both_palettes_and_narrow_screens():
    content = page.page("<t>", "")
    assert "<title>&lt;t&gt;</title>" in content
    assert "width=device-width" in content
    assert page.LIGHT.keys() == page.DARK.keys()
    assert page.MORE_LIGHT.keys() == page.MORE_DARK.keys()
    for colour in (*page.LIGHT.values(), *page.DARK.values()):
        assert colour in content


def test_wrong_letters_are_marked():
    assert mark_differences("2032-<03", "2023-<30") == "203<mark>2</mark>-&lt;0<mark>3</mark>"


@pytest.mark.parametrize("last", [2.0, 0.01], ids=["linear", "logarithmic"])
def test_a_curve_is_reproducible_and_labelled(last: float):
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": last, "validation_loss": 2.5}]
    drawn = loss_curve(lines, 4.0, "nats per token")
    assert drawn == loss_curve(json.loads(json.dumps(lines)), 4.0, "nats per token")
    for words in ("step", "loss, nats per token", "training", "validation", "uniform guess"):
        assert f">{words}</text>" in drawn
    assert "#000000" not in drawn
    assert "var(--accent, " in drawn
    assert drawn.count("<text ") == drawn.count('<text style="fill: ')


def test_an_attention_map_labels_every_token_and_makes_spaces_visible():
    drawn = svg(attention_figure(np.eye(2, 3) / 4, ["x", "<eos>"], ["a", " ", "\n"], ("written", "read")))
    for label in ("written", "read", "x", "■", "a", "␣", "⏎", "0.25"):
        assert f">{label}</text>" in drawn
