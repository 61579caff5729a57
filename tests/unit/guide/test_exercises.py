"""The judges pass solutions, fail stubs and find planted mistakes; what a submission does hurts it alone."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from clearformer.guide import grading
from clearformer.guide.exercises import Exercise, read_exercises
from clearformer.guide.judging import read_tests, verdicts
from clearformer.guide.stages import folder

EXERCISES = read_exercises()

# exercise, a line of the solution, what stands there instead, and the claim that must fail
MISTAKES = [
    (1, " / math.sqrt(q.shape[-1])", "", "a_score_is_a_dot_product_over_the_root_of_the_width"),
    (1, "(scores - scores.amax(-1, keepdim=True))", "scores", "large_scores_give_finite_shares"),
    (1, "powers.sum(-1, keepdim=True)", "powers.sum(-2, keepdim=True)", "shares_are_those_worked_by_hand"),
    (2, ".square().mean(-1", ".square().sum(-1", "the_norm_of_two_numbers_is_the_one_worked_by_hand"),
    (2, "+ self.eps", "", "the_norm_passes_the_checks_of_clearformer"),
    (2, "x + self.attention(x)", "self.attention(x)", "attention_comes_first_and_its_output_is_added_before_the_norm"),
    (2, "self.feed_forward_norm(x +", "self.attention_norm(x +", "each_norm_has_weights_of_its_own_which_learn"),
    (3, ".tril()", ".tril(1)", "a_changed_target_token_moves_itself_and_later_tokens_only"),
    (3, "torch.finfo(scores.dtype).min", "-math.inf", "a_query_that_may_attend_to_nothing_stays_finite"),
    (3, "self.cross_key(memory), self.cross_value(memory)", "self.cross_key(x), self.cross_value(x)",
     "a_changed_source_token_moves_every_target_token"),
    (4, "surprise[targets != padding].mean()", "surprise.mean()", "padding_does_not_count"),
    (4, "    optimizer.zero_grad()\n", "", "gradients_of_an_earlier_step_do_not_count"),
    (4, "@torch.no_grad()\n", "", "generation_keeps_no_gradients"),
    (4, ".tril(S - N)", ".tril()", "steps_of_one_token_equal_the_full_pass"),
    (4, ".tril(S - N)", "", "several_new_tokens_see_the_cached_ones_and_each_other_backwards"),
    (5, ".square().mean(-1", ".square().sum(-1", "the_norm_of_two_numbers_is_the_one_worked_by_hand"),
    (5, "+ self.eps", "", "the_norm_passes_the_checks_of_clearformer"),
    (5, "F.silu(self.gate(x)) * self.up(x)", "self.gate(x) * F.silu(self.up(x))",
     "the_gate_of_one_number_is_the_one_worked_by_hand"),
    (5, "b = x.chunk(2, dim=-1)", "b = x[..., ::2], x[..., 1::2]",
     "a_point_on_the_first_axis_is_turned_to_where_trigonometry_says"),
    (5, "torch.arange(0, width, 2)", "torch.arange(width // 2)", "rotary_positions_pass_the_checks_of_clearformer"),
    (5, "k.repeat_interleave(sharing, dim=1)", "k.repeat(1, sharing, 1, 1)", "keys_are_shared_as_values_are"),
    (5, "v.repeat_interleave(sharing, dim=1)", "v.repeat(1, sharing, 1, 1)", "neighbouring_heads_share_a_set"),
]  # fmt: skip


def failures(exercise: Exercise, source: str, folder: Path) -> dict[str, str]:
    """Why which claim does not hold, judged in this process."""
    file = folder / exercise.file_name
    file.write_text(source, encoding="utf-8")
    reasons = dict(verdicts(read_tests(str(exercise.folder / "judge.py")), str(file)))
    assert list(reasons) == exercise.claims
    return {claim.removeprefix("test_"): reason for claim, reason in reasons.items() if reason}


def solution(exercise: Exercise) -> str:
    return (exercise.folder / "solution.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.folder.name)
def test_a_solution_passes_and_a_stub_fails_every_claim_as_not_written(exercise: Exercise, tmp_path: Path):
    assert failures(exercise, solution(exercise), tmp_path) == {}
    reasons = failures(exercise, exercise.stub, tmp_path)
    assert len(reasons) == len(exercise.claims)
    assert set(reasons.values()) == {"it is not written yet"}


@pytest.mark.parametrize(("number", "line", "mistake", "claim"), MISTAKES)
def test_a_planted_mistake_is_found(number: int, line: str, mistake: str, claim: str, tmp_path: Path):
    exercise = EXERCISES[number - 1]
    assert line in solution(exercise)
    assert claim in failures(exercise, solution(exercise).replace(line, mistake), tmp_path)


def test_every_part_of_the_guide_has_an_exercise_with_its_number_a_title_and_hints():
    assert [exercise.folder.name for exercise in EXERCISES] == sorted(path.name for path in folder().glob("[0-9]_*"))
    for exercise in EXERCISES:
        assert exercise.stub.startswith(f'"""Exercise {exercise.number}: {exercise.title}.\n')
        assert len(exercise.hints) >= 3


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of which one is right, and each other hurts in another way."""
    folder = tmp_path_factory.mktemp("class")
    right = solution(EXERCISES[0])
    for student, source in {
        "bea": "import os\nos._exit(0)\n",
        "cem": "import ctypes\nctypes.string_at(0)\n",
        "dan": "x = '" + "\x00" + "'\n",
        "eve": f"print('no' * 10**7)\n{right}",
        "fay\x1b[31m": right.replace("return softmax", "raise ValueError('\x1b[31m')\n    return softmax"),
        "zoe": right,
    }.items():
        (folder / student).mkdir()
        (folder / student / "exercise_1.py").write_text(source, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_class_is_graded_though_some_of_it_crash_or_print_nonsense(handed_in: Path, typed):
    code, out, _ = typed("--grade", str(handed_in))
    marks = {line.split()[0]: line.split("  ")[1:] for line in out.splitlines() if "passed" in line or " of 6" in line}
    table = {student: "".join(row).split("-")[0].strip() for student, row in marks.items()}
    assert code == 0
    assert table == {"bea": "0 of 6", "cem": "0 of 6", "dan": "0 of 6", "eve": "passed",
                     "fay\N{REPLACEMENT CHARACTER}[31m": "4 of 6", "zoe": "passed"}  # fmt: skip
    assert "bea, exercise 1: Python ended with exit code 0 before this was judged\n" in out
    assert "cem, exercise 1: Python was stopped by signal 11, Segmentation fault\n" in out
    assert "dan, exercise 1: the file cannot be imported: SyntaxError: " in out
    assert "\x1b" not in out
    assert len(list(handed_in.glob("*/exercise_1.py"))) == 6
    suites = ElementTree.parse(handed_in / "grades.xml").getroot()
    assert [suite.get("failures") for suite in suites[::5]] == ["6", "6", "6", "0", "2", "0"]


ATTEMPTS = {
    "os.remove": "os.remove(path)",
    "os.rename": "os.rename(path, path + '2')",
    "open": "open(path, 'w')",
    "shutil.rmtree": "shutil.rmtree(os.path.dirname(path))",
    "subprocess.Popen": "subprocess.run([sys.executable, '-c', f'import os; os.remove({path!r})'])",
    "os.system": "os.system(f'rm {path}')",
    "os.fork": "os.fork()",
    "os.kill": "os.kill(os.getppid(), 0)",
}
"""each aims at one file in the test's own folder, so that even without the fence nothing else could be lost"""


@pytest.mark.slow
def test_a_submission_deletes_moves_writes_starts_and_ends_nothing(tmp_path: Path):
    decoy = tmp_path / "other" / "exercise_1.py"
    decoy.parent.mkdir()
    decoy.write_text("someone else's")
    tried = "".join(f"try: {code}\nexcept PermissionError as e: said.append(str(e))\n" for code in ATTEMPTS.values())
    source = f"import os, shutil, subprocess, sys\nsaid, path = [], {str(decoy)!r}\n{tried}raise ValueError(said)\n"
    (graded,) = grading.grade([grading.Submission("ann", EXERCISES[0], source.encode())])
    (reason,) = set(graded.reasons.values())
    for event in ATTEMPTS:
        assert f"a submission may not do this: {event}(" in reason
    assert [path.name for path in tmp_path.rglob("*.py")] == ["exercise_1.py"]
    assert decoy.read_text() == "someone else's"


WAITING = grading.Submission("ann", EXERCISES[0], b"import time\ntime.sleep(600)\n")
ABSENT = grading.Submission("bea", EXERCISES[0], b"", grading.MISSING)


@pytest.mark.slow
@pytest.mark.parametrize(("cores", "ends"), [(1, ["ann", "bea"]), (2, ["bea", "ann"])])
def test_one_that_waits_is_stopped_and_holds_up_others_on_its_core_alone(
    monkeypatch: pytest.MonkeyPatch, cores: int, ends: list[str]
):
    monkeypatch.setattr(grading, "MAX_SECONDS", 1.0)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    ended: list[str] = []
    grades = grading.grade([WAITING, ABSENT], lambda graded: ended.append(graded.submission.student))
    assert ended == ends
    assert [graded.submission.student for graded in grades] == ["ann", "bea"]
    assert set(grades[0].reasons.values()) == {"it did not end within 1 seconds"}
    assert set(grades[1].reasons.values()) == {"it was not handed in"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to send")
def test_ctrl_c_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch):
    start, started = subprocess.Popen, []

    def start_and_keep(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(start(*arguments, **options))
        return started[-1]

    def interrupted(_: Any) -> None:  # as by Ctrl-C while results are waited for
        while not started:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(grading.subprocess, "Popen", start_and_keep)
    monkeypatch.setattr(grading, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grading.grade([WAITING])
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "it was not handed in"), (b"#" * (grading.MAX_BYTES + 1), "the file has more than 1,048,576 bytes")],
)
def test_a_file_that_is_missing_or_huge_is_not_run(tmp_path: Path, content: bytes | None, problem: str):
    path = tmp_path / "exercise_1.py"
    if content is not None:
        path.write_bytes(content)
    (graded,) = grading.grade([grading.read_submission(path, "ann", EXERCISES[0])])
    assert set(graded.reasons.values()) == {problem}
