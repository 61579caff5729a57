"""The Python API gives the same outputs as the commands."""

import html
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import clearformer
from clearformer.api.training import create_run
from clearformer.cli.main import main
from clearformer.errors import ConfigError, InspectionError, PromptError, RunError
from clearformer.inspection.figures import standalone
from clearformer.runs.session import train_run

Printed = Callable[..., str]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """`printed("translate", run, text="...")`: what the command prints, with `text` as its standard input."""

    def command(*arguments: str, text: str = "") -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    return command


def test_a_translator_translates_one_text_or_many_as_the_command_does(pairs_run: Path, printed: Printed):
    run = clearformer.open_run(pairs_run)
    texts = ["n 1001", "", "n 1234"]
    found = run.translate(texts)
    assert found == printed("translate", str(pairs_run), text="\n".join(texts) + "\n").splitlines()
    assert run.translate("n 1234") == found[2]
    assert (
        run.translate(texts, beam=1)
        == printed("translate", str(pairs_run), "--beam", "1", text="\n".join(texts) + "\n").splitlines()
    )


def test_a_language_model_generates_and_streams_what_the_command_generates(text_run: Path, printed: Printed):
    run = clearformer.open_run(str(text_run))
    flags = ["--max-new-tokens", "30", "--temperature", "0.5", "--top-k", "9", "--seed", "3"]
    written = run.generate("the q", max_new_tokens=30, temperature=0.5, top_k=9, seed=3)
    assert f"the q{written}\n" == printed("generate", str(text_run), "--prompt", "the q", *flags)
    streamed = list(run.stream("the q", max_new_tokens=30, temperature=0.5, top_k=9, seed=3))
    assert len(streamed) > 10
    assert "".join(streamed) == written
    assert run.generate(["the q"], max_new_tokens=30, temperature=0.5, top_k=9, seed=3) == [written]


def test_a_language_model_generates_and_streams_with_a_draft_what_the_command_does(text_run: Path, printed: Printed):
    run = clearformer.open_run(text_run)
    flags = ["--max-new-tokens", "30", "--draft", str(text_run), "--draft-tokens", "2"]
    written = run.generate("the q", max_new_tokens=30, draft=run, draft_tokens=2)
    assert f"the q{written}\n" == printed("generate", str(text_run), "--prompt", "the q", *flags)
    assert "".join(run.stream("the q", max_new_tokens=30, draft=run, draft_tokens=2)) == written
    assert run.generate(["the q"], max_new_tokens=30, draft=run, draft_tokens=2) == [written]


def test_a_bert_fills_and_a_classifier_classifies_as_the_command_does(
    masked_run: Path, labelled_run: Path, printed: Printed
):
    bert, classifier = clearformer.open_run(masked_run), clearformer.open_run(labelled_run)
    text = "the quick <mask> fox"
    assert bert.fill(text) + "\n" == printed("fill", str(masked_run), "--prompt", text)
    assert bert.fill([text, text]) == [bert.fill(text)] * 2
    label = classifier.classify("a good film")
    assert label in classifier.classes
    assert printed("classify", str(labelled_run), "--text", "a good film").split("\t")[0] == label
    assert classifier.classify(["a good film"]) == [label]


def test_evaluation_gives_what_the_command_prints(pairs_run: Path, printed: Printed):
    scores = clearformer.open_run(pairs_run).evaluate("validation", beam=2)
    assert scores == json.loads(printed("evaluate", str(pairs_run), "--split", "validation", "--beam", "2", "--json"))
    assert clearformer.open_run(pairs_run).evaluate()["split"] == "test"


@pytest.mark.slow
def test_training_equals_the_command(pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = clearformer.train("dates", data=pairs_file, steps=3, seed=5)
    assert (run.folder, run.step) == (Path("runs/dates"), 3)
    assert (run.folder / "report.html").is_file()
    flags = ["--data", str(pairs_file), "--train.steps", "3", "--train.seed", "5"]
    assert main(["train", "dates", *flags]) == 0
    for name in ("metrics.jsonl", "checkpoints/step-000003/model.safetensors"):
        assert (Path("runs/dates-2") / name).read_bytes() == (run.folder / name).read_bytes()
    assert clearformer.train(run.config, out="again").step == 3


def test_a_run_that_is_resumed_has_the_new_model(pairs_run: Path, tmp_path: Path):
    run = create_run(clearformer.open_run(pairs_run).config, tmp_path / "run")
    session = train_run(run)
    next(session)
    session.close()
    assert run.step == 1
    before = [weight.clone() for weight in run.model.parameters()]
    assert run.resume().step == run.config.train.steps == 12
    assert any((a != b).any() for a, b in zip(before, run.model.parameters(), strict=True))


def test_a_page_is_written_into_the_run_and_shows_itself_in_a_notebook(pairs_run: Path, tmp_path: Path):
    run = clearformer.open_run(pairs_run)
    page = run.explore()
    assert page.path == pairs_run / "explore.html"
    assert repr(page).startswith(f"Explorer({str(page.path)!r}: ")
    pattern = r'<iframe title="explorer" style="[^"]*" srcdoc="([^"]*)"></iframe>'
    (frame,) = re.fullmatch(pattern, page._repr_html_()).groups()
    assert html.unescape(frame) == page.path.read_text(encoding="utf-8")
    assert run.explore(tmp_path / "x.html", precision="half").path.stat().st_size < page.path.stat().st_size


def test_attention_is_drawn_for_every_family(
    pairs_run: Path, text_run: Path, masked_run: Path, labelled_run: Path, tmp_path: Path
):
    for folder, text in (
        (pairs_run, "n 1001"),
        (text_run, "the quick"),
        (masked_run, "the <mask> fox"),
        (labelled_run, "a good film"),
    ):
        drawn = clearformer.open_run(folder).attention(text)
        assert drawn.weights.shape == (len(drawn.rows), len(drawn.columns))
        np.testing.assert_allclose(drawn.weights.sum(-1), 1.0, atol=1e-6)  # each row is a distribution, in float32
        assert drawn._repr_svg_().startswith("<svg")
    drawn.save(tmp_path / "x.svg")
    assert (tmp_path / "x.svg").read_text() == standalone(drawn.svg())


def test_a_language_model_attends_to_no_later_token_and_heads_average_to_the_map(text_run: Path):
    run = clearformer.open_run(text_run)
    drawn = run.attention("the quick")
    assert np.triu(drawn.weights, 1).max() == 0.0
    heads = [run.attention("the quick", layer=0, head=head).weights for head in range(2)]
    np.testing.assert_allclose(np.mean(heads, axis=0), drawn.weights, atol=1e-6)
    assert drawn.rows == drawn.columns == list("the quick")


def test_cross_attention_is_from_the_given_target_to_the_text(pairs_run: Path):
    drawn = clearformer.open_run(pairs_run).attention("n 12", "21 n")
    assert drawn.rows == [*"21 n", "<eos>"]
    assert drawn.columns == [*"n 12", "<eos>"]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda run: run.attention("the", layer=1), "layer must be from -1 to 0, found 1; there are 1"),
        (lambda run: run.attention("the", head=-3), "head must be from -2 to 1, found -3; there are 2"),
        (lambda run: run.attention("the " * 9), "a text of 1 to 16 tokens was expected, the model's context, found 36"),
        (lambda run: run.attention(""), "a text of 1 to 16 tokens was expected, the model's context, found 0"),
        (lambda run: run.generate("t", max_new_tokens=0), "--max-new-tokens must be 1 or more, found 0; raise it"),
        (lambda run: run.evaluate(beam=-2), "--beam must be 1 (greedy) or more, found -2; change it"),
        (lambda run: run.generate("é"), "text in the run's vocabulary was expected, but it has no 'é'; leave it out"),
    ],
)
def test_invalid_arguments_are_refused_with_a_message(
    text_run: Path, use: Callable[[clearformer.Run], object], message: str
):
    with pytest.raises((PromptError, InspectionError)) as refused:
        use(clearformer.open_run(text_run))
    assert str(refused.value) == message


def test_a_run_of_another_family_names_its_own_method(text_run: Path):
    with pytest.raises(RunError, match=r"writes text; use: clearformer generate .*, or run.generate in Python$"):
        clearformer.open_run(text_run).translate("x")
    with pytest.raises(ConfigError, match=r"a recipe .* was expected, found neither"):
        clearformer.train()


def test_a_run_prints_as_three_lines(pairs_run: Path):
    patterns = [
        rf"Run\('{pairs_run}'\): transformer of [0-9,]+ parameters on pairs.tsv",
        r"  step 12 of 12, loss \d\.\d+, on validation \d\.\d+ nats per token",
        r"  use: run.translate\(text\), .*run.tokenizer",
    ]
    for line, pattern in zip(repr(clearformer.open_run(pairs_run)).splitlines(), patterns, strict=True):
        assert re.fullmatch(pattern, line)


def test_another_engine_gives_the_same_text(pairs_run: Path):
    texts = ["n 1001", "n 1234"]
    numpy = clearformer.open_run(pairs_run, engine="numpy")
    assert "numpy" in type(numpy.model).__module__
    assert numpy.translate(texts) == clearformer.open_run(pairs_run).translate(texts)
    assert numpy.attention(texts[0]).weights.shape[1] == len(texts[0]) + 1


def test_unknown_tokens_are_reported(pairs_run: Path, masked_run: Path):
    notices: list[str] = []
    clearformer.open_run(pairs_run, notify=notices.append).translate("n éé 1")
    assert notices == ["2 tokens of the input were not in the vocabulary and read as <unk>"]
    clearformer.open_run(masked_run, notify=pytest.fail).fill("the quick <mask> fox")  # the mask's token has the space
