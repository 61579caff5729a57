"""`clearformer check`: a report as text or JSON, an exit code, and never a traceback."""

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from clearformer.checks.check import Check
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.outcome import failed, passed
from clearformer.cli.main import main

MODELS = """
import torch
from clearformer.checks import Subject

def running_mean(model, tokens):
    print("the model says something")
    x = model(tokens)
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]

def mean(model, tokens):
    x = model(tokens)
    return x.mean(1, keepdim=True).expand_as(x)

def interrupted(model, tokens):
    raise KeyboardInterrupt

def broken(model, tokens):
    raise ValueError("three [bold]legs[/bold]")

def make(call):
    return Subject(torch.nn.Embedding(11, 11), call, vocab_size=11, context=16, name="Mean")

def loss(model, tokens, labels):
    logits = running_mean(model, tokens[:, :-1])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())

def good(): return make(running_mean)
def bad(): return make(mean)
def stops(): return make(interrupted)
def crashes(): return make(broken)
"""

PARTS = """
import torch

def attention(q, k, v, mask=None):
    return weighted(q, k, v, mask, q.shape[-1] ** -0.5)

def unscaled(q, k, v, mask=None):
    return weighted(q, k, v, mask, 1.0)

def weighted(q, k, v, mask, scale):
    scores = q @ k.transpose(-1, -2) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ v

def wrapped():
    return attention

class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MODELS, encoding="utf-8")
    Path("parts.py").write_text(PARTS, encoding="utf-8")


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]):
    """`typed("mine.py:good", ...)`: the exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["check", *arguments]), *capsys.readouterr()

    return run


def test_a_model_that_passes_gives_0_and_one_line_per_check(typed):
    code, out, err = typed("mine.py:good", "--only", "masks.future", "masks.both-sides")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("masks.future      passed          no future token influences a past logit (")
    assert lines[0].endswith(", at most 0.0001 allowed)")
    assert lines[1].startswith("masks.both-sides  does not apply  ")
    assert lines[1].endswith("(it is about bidirectional models, and this one is causal)")
    assert lines[2:4] == ["", lines[-1]]
    assert lines[-1].startswith("Mean, causal: 1 passed, 1 does not apply, in ")
    assert "the model says something" in err
    assert err.splitlines()[-1].startswith("checking 2/2")


def test_a_loss_of_the_users_file_is_checked_and_a_clean_run_says_what_was_not(typed):
    code, out, _ = typed("mine.py:good", "--only", "loss.shift", "cache.steps", "--loss", "mine.py:loss", "--pad", "0")
    assert code == 0
    assert ["loss.shift", "passed"] in [line.split()[:2] for line in out.splitlines()]
    heading, gap = out.splitlines()[3:5]
    assert heading == "Not checked, for want of one line each:"
    assert gap.startswith(
        "    1 check: no step with a cache was found: add --step model.METHOD, or write Subject(..., "
    )
    assert gap.endswith(" (cache.steps)")


def test_a_failure_gives_1_and_is_reported_in_full_at_the_end(typed):
    code, out, _ = typed("mine.py:bad", "--only", "masks.future")
    assert code == 1
    first, empty, head, *rest = out.splitlines()
    assert first.startswith("masks.future  failed          no future token influences a past logit (")
    assert empty == ""
    assert head.startswith("masks.future FAILED (")
    words = [line.split()[0] for line in rest if line.startswith("    ")]
    assert words[:3] == ["measured", "found", "means"]
    assert words[-1] == "read"
    assert rest[-1].startswith("Mean, causal: 1 failed, in ")


def test_a_crash_gives_1_and_the_literal_error_message(typed):
    code, out, err = typed("mine.py:crashes", "--only", "masks.future")
    assert code == 1
    assert "masks.future CRASHED: no future token influences a past logit" in out
    assert f"the model  ValueError: three [bold]legs[/bold] ({Path('mine.py').resolve()}:18, in broken)" in out
    assert "Traceback" not in out + err


def test_json_is_all_that_is_printed(typed):
    code, out, _ = typed("mine.py:bad", "--only", "masks.future", "--json", "--seed", "5")
    content = json.loads(out)
    assert code == 1
    assert content["subject"] == {"name": "Mean", "kind": "causal"}
    assert content["seed"] == 5
    assert [(check["id"], check["status"]) for check in content["checks"]] == [("masks.future", "failed")]


def test_report_files_are_written_and_their_folders_created(typed):
    code, out, _ = typed(
        "mine.py:bad", "--only", "masks.future", "--junit", "new/report.xml", "--markdown", "new/report.md"
    )
    assert code == 1
    assert out.startswith("masks.future  failed")
    (suite,) = ElementTree.parse("new/report.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert "## clearformer check: Mean (causal)" in Path("new/report.md").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_is_an_error_after_the_report(typed):
    code, out, err = typed("mine.py:good", "--only", "masks.future", "--junit", "mine.py/report.xml")
    assert code == 2
    assert "1 passed" in out
    assert "clearformer: a file that can be written to was expected at mine.py/report.xml, but: " in err


def test_a_model_to_which_no_check_applies_is_an_error(typed):
    code, out, err = typed("mine.py:good", "--only", "masks.both-sides")
    assert code == 2
    assert "1 does not apply" in out
    assert err.splitlines()[-1].startswith("clearformer: a check that applies to this model was expected, but there")


def test_skipped_slow_checks_say_how_to_run_them(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(CHECKS, "masks.slow", Check("takes its time", lambda _: passed(0.5, 1.0), slow_from=1))
    _, out, _ = typed("mine.py:good", "--only", "masks.future", "masks.sl*")
    assert "masks.slow    not run         takes its time (it takes minutes on a model of this size; ask for it" in out
    assert "1 passed, 1 not run" in out
    _, out, _ = typed("mine.py:good", "--only", "masks.slow")
    assert out.startswith("masks.slow  passed          takes its time (0.5, at most 1 allowed)")


def test_the_seed_is_that_of_all_random_inputs(typed, monkeypatch: pytest.MonkeyPatch):
    def draw(probe):
        return failed("", float(torch.rand(())), 0.0, case=str(probe.draw(1, 5).tolist()), diagnosis="")

    monkeypatch.setitem(CHECKS, "masks.draw", Check("", draw))
    first, again, other = (
        json.loads(typed("mine.py:good", "--only", "masks.draw", "--json", *seed)[1])["checks"][0]["case"]
        for seed in ((), ("--seed", "1"), ("--seed", "2"))
    )
    assert first == again != other


def test_an_interrupt_exits_with_130_and_no_report(typed):
    code, out, err = typed("mine.py:stops", "--only", "masks.future")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_list_and_explain_need_no_model(typed):
    code, out, _ = typed("--list")
    assert code == 0
    assert {"masks.future", "attention.scale"} < {line.split(" ")[0] for line in out.splitlines()}
    code, out, _ = typed("--explain", "masks.future")
    assert code == 0
    assert out.startswith("masks.future\n\nNo future token influences a past logit.\n")
    assert typed("--explain", "attention.scale")[1].startswith("attention.scale\n\n")


@pytest.mark.slow
def test_a_trained_run_is_checked_by_the_name_of_its_folder(typed, text_run: Path):
    code, out, _ = typed(str(text_run), "--only", "masks.future", "cache.steps")
    assert code == 0
    assert out.splitlines()[-1].startswith("GPT, causal: 2 passed, in ")


@pytest.mark.parametrize("target", ["parts.py:attention", "parts.py:wrapped"])
def test_a_part_is_checked_as_the_kind_given_by_as(typed, target: str):
    code, out, _ = typed(target, "--as", "attention")
    assert code == 0
    assert ["attention.values", "passed"] in [line.split()[:2] for line in out.splitlines()]
    assert out.splitlines()[-1].startswith(f"{target[9:]}, attention: ")


def test_a_part_that_is_wrong_is_diagnosed(typed):
    code, out, _ = typed("parts.py:unscaled", "--as", "attention")
    assert code == 1
    assert "attention.scale FAILED (" in out
    assert "clearformer check --explain attention.scale" in out


def test_lines_are_wrapped_on_a_terminal_only(typed, monkeypatch: pytest.MonkeyPatch):
    whole = typed("mine.py:bad", "--only", "masks.future", "masks.empty-row")[1]
    assert max(map(len, whole.splitlines())) > 80
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    coloured = typed("mine.py:bad", "--only", "masks.future", "masks.empty-row")[1]
    broken = re.sub("\x1b\\[[0-9;]*m", "", coloured)
    assert coloured != broken
    assert max(map(len, broken.splitlines())) <= 80
    assert broken.split()[:-2] == whole.split()[:-2]  # but for the seconds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "FILE.py:FUNCTION was expected, a function that returns the model"),
        (["mine.py:god"], "a function 'god' was expected in mine.py, but there is none; did you mean good?"),
        (["mine.py:good", "--only", "mask"], "the id of a check, or a group of them, was expected, found 'mask'"),
        (["mine.py:good", "--kind", "encoder"], "--kind"),
        (["--explain", "masks.futrue"], "the id of a check was expected, found 'masks.futrue'; did you mean masks.fut"),
        (["mine.py:good", "--as", "atention"], "was expected after --as, found 'atention'; did you mean 'attention'"),
        (["mine.py:good", "--as", "mask", "--only", "mask.values", "--pad", "0"], "takes no --only, --pad; leave that"),
        (["mine.py:good", "--loss", "model.los"], "a method of Embedding was expected for loss, such as model.loss"),
        (["mine.py:good", "--loss", "mine.py:los"], "a function 'los' was expected in mine.py, but there is none"),
        (["mine.py:good", "--pad", "11"], "which reads the tokens 0 to 10, found 11"),
        (["parts.py:Block", "--as", "attention"], "a function without arguments was expected, but Block ("),
        (["parts.py:attention"], "a function without arguments was expected, but attention ("),
        (["nowhere"], "FILE.py:FUNCTION or package.module:FUNCTION was expected, found 'nowhere'"),
    ],
)  # fmt: skip
def test_invalid_arguments_give_2_and_one_message(typed, arguments: list[str], words: str):
    code, out, err = typed(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("clearformer: ")
    assert words in err
    assert "Traceback" not in err


def test_help_does_not_import_torch():
    code = (
        "import sys\nfrom clearformer.cli.main import main\n"
        "try: main(['check', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
