"""An exported run compiles without warnings and writes what the command writes."""

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from imported_run import write_imported_run

from clearformer.api.run import open_run
from clearformer.cli.main import main
from clearformer.engines.c.export import export
from clearformer.engines.c.model import logits_of
from clearformer.errors import RunError
from clearformer.generation.sampling import Sampling, probabilities

pytestmark = pytest.mark.slow

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {
    "gcc": ["gcc", "-O1"],  # some warnings come with optimization
    "clang": ["clang", "-O0"],  # and of clang's, that it could not vectorize a loop
    "zig": [sys.executable, "-m", "ziglang", "cc", "-O0"],
}

FREQUENCY_TOLERANCE = 0.03
"""of 4000 draws: almost four standard deviations, of 0.008 at most"""

Use = Callable[..., "subprocess.CompletedProcess[str]"]


def export_run(run: Path, folder: Path) -> Path:
    assert main(["export", str(run), "--to", "c", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def program(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, under sanitizers where the compiler has them. It is the same for all runs."""
    folder = export_run(text_run, tmp_path_factory.mktemp("export") / "text")
    for options in (("-O1", *SANITIZERS), ("-O1",)):
        made = subprocess.run(["make", "-C", folder, f"CFLAGS={' '.join(options)}"], capture_output=True, text=True)
        if made.returncode == 0:
            return folder / "transformer"
    if shutil.which("cc"):
        pytest.fail(made.stderr)
    pytest.skip("no compiler named cc")


@pytest.fixture
def use(program: Path, tmp_path: Path) -> Use:
    """Exports a run, and calls the program with arguments and lines of standard input."""

    def call(run: Path, *arguments: str, lines: str = "") -> "subprocess.CompletedProcess[str]":
        folder = tmp_path / "exported" / run.name
        if not folder.exists():
            shutil.copy(program, export_run(run, folder))
        environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}  # memory that lasts until the end
        command = [str(folder / "transformer"), *arguments]
        done = subprocess.run(command, input=lines.encode(), capture_output=True, env=environment)
        out, errors = done.stdout.decode(), done.stderr.decode()  # as text, a token of "\r" would be read as "\n"
        return subprocess.CompletedProcess(command, done.returncode, out, errors)

    return call


def written_by_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMPILERS)
def test_the_sources_have_no_warnings(name: str, text_run: Path, tmp_path: Path):
    if not shutil.which(name) and not (name == "zig" and importlib.util.find_spec("ziglang")):
        pytest.skip(f"no {name}")
    folder = export_run(text_run, tmp_path / "out")
    sources = map(str, folder.glob("*.c"))
    command = [*COMPILERS[name], *WARNINGS, "-fopenmp-simd", *sources, "-lm", "-o", str(tmp_path / "program")]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert (compiled.returncode, compiled.stderr) == (0, "")


@pytest.mark.parametrize("prompts", [["the "], ["a", "the quick brown fox jumps over the lazy dog", "\n"]])
def test_a_gpt_continues_as_the_command_does_beyond_the_context(
    prompts: list[str], text_run: Path, use: Use, capsys: pytest.CaptureFixture[str]
):
    settings = ["--temperature", "0", "--max-new-tokens", "40"]
    found = use(text_run, *settings, *prompts)
    expected = written_by_command(capsys, "generate", str(text_run), "--prompt", *prompts, *settings, "--engine", "c")
    assert (found.stdout, found.returncode) == (expected, 0)


def test_bytes_that_form_no_character_are_written_as_the_command_writes_them(
    tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
):
    text, run = tmp_path / "text.txt", tmp_path / "bytes"
    text.write_text("🦊 naïve 日本語\n" * 100, encoding="utf-8")
    sizes = ("--model.context", "16", "--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1")
    options = (*sizes, "--tokenizer", "bpe", "--model.vocab-size", "262", "--train.steps", "4", "--train.device", "cpu")
    assert main(["train", "pydocs", "--data", str(text), "--out", str(run), *options]) == 0
    settings = ["--temperature", "0", "--max-new-tokens", "60"]
    found = use(run, *settings, "日")
    expected = written_by_command(capsys, "generate", str(run), "--prompt", "日", *settings, "--engine", "c")
    assert found.stdout == expected


def test_tokens_are_sampled_with_the_probabilities_that_the_settings_leave(text_run: Path, use: Use):
    rows, prompt, run = 4000, "the ", open_run(text_run, engine="c")
    sampling = Sampling(temperature=1.5, top_k=6, top_p=0.8)
    settings = ("--temperature", "1.5", "--top-k", "6", "--top-p", "0.8", "--max-new-tokens", "1")
    written = use(text_run, *settings, "--seed", "3", lines=f"{prompt}\n" * rows).stdout
    found = Counter(re.findall(f"{prompt}(.)\n\n", written, re.DOTALL))
    logits = logits_of(run.model, (np.array([run.tokenizer.encode(prompt)]),))[:, -1]
    logits[:, :4] = -np.inf  # special tokens
    p = probabilities(logits, sampling)[0]
    expected = {run.tokenizer.decode([int(index)]): p[index] for index in np.flatnonzero(p)}
    assert found.total() == rows
    assert found.keys() == expected.keys()
    for token, count in found.items():
        assert count / rows == pytest.approx(expected[token], abs=FREQUENCY_TOLERANCE)


def test_the_same_seed_writes_the_same_text_and_another_seed_another(text_run: Path, use: Use):
    first, again, other = (use(text_run, "--seed", seed, "the").stdout for seed in ("1", "1", "2"))
    assert first == again
    assert first != other
    assert len(first) == len("the") + 200 + len("\n")


@pytest.mark.parametrize("beam", ["1", "4", "7"])
def test_an_encoder_decoder_translates_lines_as_the_command_does(
    beam: str, pairs_run: Path, use: Use, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = "\ufeffn 1001\nn 13\r\n\n \u00a0\t\n1399 n 7\n?"
    found = use(pairs_run, "--beam", beam, "--length-penalty", "1.2", lines=lines)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    settings = ("--beam", beam, "--length-penalty", "1.2")
    expected = written_by_command(capsys, "translate", str(pairs_run), *settings, "--engine", "c")
    assert (found.stdout, found.returncode) == (expected, 0)
    assert found.stderr == "1 tokens of the input were not in the vocabulary and read as <unk>\n"


def test_a_bert_fills_masks_as_the_command_does(masked_run: Path, use: Use, capsys: pytest.CaptureFixture[str]):
    texts = ["the <mask> brown <mask>", "<mask>", "a<mask>b <mask>.", "the quick\n <mask>"]
    expected = written_by_command(capsys, "fill", str(masked_run), "--prompt", *texts, "--engine", "c")
    assert use(masked_run, *texts).stdout == expected


def test_a_classifier_classifies_as_the_command_does(labelled_run: Path, use: Use, capsys: pytest.CaptureFixture[str]):
    texts = [
        "a good film number 7",
        "poor\tnice",
        "",
        " ",
        "a sad film " * 9,
        "one\ttwo three four five six\t" + "x " * 30,
    ]
    expected = written_by_command(
        capsys, "classify", str(labelled_run), "--text", *texts, "--top", "2", "--engine", "c"
    )
    found = use(labelled_run, "--top", "2", "--", *texts)
    assert found.stdout == expected
    assert "2 of 4 texts are too long for the context of 12 tokens: truncated" in found.stderr


PROMPTS = ["the quick fox", "a<|endoftext|>b", "  it isn't 12", "café 日本🦊", "cafe\u0301"]


@pytest.mark.parametrize("kind", ["GPT-2", "Qwen2", "Llama"])
def test_an_imported_gpt_continues_as_the_command_does(
    kind: str, tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
):
    run = write_imported_run(tmp_path / "runs" / "gpt", kind)
    prompts = [prompt for prompt in PROMPTS if kind == "Llama" or "<|" not in prompt]  # there it is the unknown token
    for given in (prompts, prompts[:1]):
        settings = ["--temperature", "0", "--max-new-tokens", "60"]
        found = use(run, *settings, *given)
        expected = written_by_command(capsys, "generate", str(run), "--prompt", *given, *settings, "--engine", "c")
        assert found.returncode == 0
        assert once(found.stdout) == once(expected)


def once(text: str) -> str:
    """With one \ufffd for a row of bytes that are no character, of which a stream in Python may make more."""
    return re.sub("\ufffd+", "\ufffd", text)


@pytest.mark.parametrize("kind", ["BERT", "RoBERTa"])
def test_an_imported_bert_fills_masks_as_the_command_does(
    kind: str, tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str]
):
    run = write_imported_run(tmp_path / "runs" / "bert", kind)
    texts = ["the <mask> brown <mask>", "<mask>", "The dog's <mask>.", "日本 <mask>ing café"]
    expected = written_by_command(capsys, "fill", str(run), "--prompt", *texts, "--engine", "c")
    assert use(run, *texts).stdout == expected


@pytest.mark.parametrize("kind", ["Marian", "Helsinki", "T5"])
def test_an_imported_encoder_decoder_translates_as_the_command_does(
    kind: str, tmp_path: Path, use: Use, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    lines = "the lazy dog\n\nfox  and 12 日本 ﬁ①\n>>deu<< the dog lost ä\n"
    run = write_imported_run(tmp_path / "runs" / "pairs", kind)
    found = use(run, "--beam", "3", lines=lines)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    expected = written_by_command(capsys, "translate", str(run), "--beam", "3", "--engine", "c")
    assert (found.stdout, found.returncode) == (expected, 0)


def test_an_imported_tokenizer_that_c_does_not_read_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = write_imported_run(tmp_path / "run", "GPT-2")
    file = json.loads((run / "tokenizer.json").read_text("utf-8"))
    (run / "tokenizer.json").write_text(json.dumps(file | {"normalizer": {"type": "NFKC"}}), encoding="utf-8")
    for command in (["export", str(run), "--to", "c", str(tmp_path / "out")], ["explore", str(run), "--no-open"]):
        assert main(command) == 2
        words = (
            'was expected as the normalizer of tokenizer.json, found {"type":"NFKC"}, which the C engine does not read'
        )
        assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--beam", "2"], "the flag --beam is unknown; see --help, or write -- before texts"),
        (["--top-p", "0"], "--top-p must be above 0 and at most 1, found 0; change it"),
        (["--temperature", "nan"], "--temperature must be 0 (greedy) or more, found nan; change it"),
        (["--top-k", "1.5"], "--top-k must be 0 (all) or more, found 1.5; change it"),
        (["--seed", ""], "--seed must be 0 or more, found ; change it"),
        (["--seed"], "--seed must be 0 or more, found nothing; change it"),
        ([], "a prompt was expected, found none; give one as an argument, or lines on standard input"),
        ([""], "a prompt of at least one token was expected, found an empty one; type a character"),
        (["the ?"], "text in the run's vocabulary was expected, found 1 pieces that it lacks; leave them out"),
        ([b"\xff"], "text in UTF-8 was expected, found other bytes; convert it to UTF-8"),
    ],
)
def test_bad_input_ends_with_one_sentence(arguments: list[str], words: str, text_run: Path, use: Use):
    found = use(text_run, *arguments)
    assert (found.stdout, found.stderr, found.returncode) == ("", f"transformer: {words}\n", 2)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", "{}", 'config.json: one object "model" was expected, found nothing; copy the run'),
        ("config.json", "", "config.json: an object of JSON was expected"),
        (
            "model.safetensors",
            "",
            "model.safetensors: at least 8 bytes were expected, found 0; copy the run's file again",
        ),
        ("tokenizer.json", "{}", '"1.0" was expected as "version" of tokenizer.json, found nothing'),
        ("data.json", '{"classes": ["praise"]}', "2 names of classes were expected in data.json, found others; export"),
        ("data.json", None, "a file was expected as "),
    ],
)
def test_a_damaged_file_ends_with_one_sentence(
    name: str, content: str | None, words: str, labelled_run: Path, use: Use, tmp_path: Path
):
    assert use(labelled_run, "a film").returncode == 0
    path = tmp_path / "exported" / labelled_run.name / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    found = use(labelled_run, "a film")
    assert words in found.stderr
    assert (found.stdout, found.stderr.count("\n"), found.returncode) == ("", 1, 2)


def test_a_folder_in_use_is_left_as_it_is(text_run: Path, tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(RunError, match=r"a new or empty folder was expected, but .* is in use; name another"):
        export(open_run(text_run), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
