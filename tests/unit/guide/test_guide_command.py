"""`clearformer guide`: the list, a script in the terminal, notebooks, exercises and hints; errors in one sentence."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

LIST = """\
Part 1: boxes, 10 minutes
  next   1  Two boxes, 5 minutes
            A stack is a list.
         2  [More] boxes, 5 minutes
            A stack is a list.
Questions, each answered by an experiment
            picture     Is a picture a picture?
Exercises, to write yourself
"""


class Terminal(io.StringIO):
    """A person who presses Enter once."""

    def isatty(self) -> bool:
        return True


def test_the_list_has_parts_stages_minutes_and_where_one_is(typed):
    code, out, _ = typed()
    assert code == 0
    assert out.startswith(LIST)
    assert "\n         1  attention of a sentence\n" in out
    assert "clearformer guide 1 shows and runs 'Two boxes'" in out


def test_a_finished_stage_is_remembered_and_the_next_one_named(typed):
    code, out, _ = typed("1")
    assert code == 0
    assert out.endswith("clearformer guide 1 is finished; next: [More] boxes, clearformer guide 2\n")
    listed = json.loads(typed("--json")[1])
    assert [stage["finished"] for stage in listed["stages"]] == [True, False]
    assert listed["next"] == 2
    assert typed("2")[1].endswith("clearformer guide 2 is finished\n")
    assert json.loads(typed("--json")[1])["next"] is None


def test_a_stage_shows_text_diff_code_and_what_it_prints(typed):
    out = typed("2")[1]
    wanted = ["2. [More] boxes", "A stack is a list.", "since stage 1:", "-    return", "+    return",
              "(unchanged: imports)", "Predict. How many?", "print(len(boxes())",
              "6 [bold]box[/bold]\n['encoder', "]  # fmt: skip
    places = [out.find(words) for words in wanted]
    assert -1 not in places
    assert places == sorted(places)


def test_a_picture_is_saved_and_named_by_its_title(typed, tmp_path: Path):
    code, out, _ = typed("picture")
    path = tmp_path / "state" / "pictures" / "picture-2.png"
    assert code == 0
    assert f"picture: three points: {path}\n" in out
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_prediction_waits_for_enter_at_a_terminal(typed, monkeypatch: pytest.MonkeyPatch):
    person = Terminal("\n")
    monkeypatch.setattr(sys, "stdin", person)
    code, _, err = typed("1")
    assert code == 0
    assert err.count("Enter shows what happens") == 1
    assert person.read() == ""


def test_a_failed_assertion_gives_1_and_the_stage_is_not_finished(typed, guide: Path):
    script = guide / "1_boxes" / "01_two.py"
    script.write_text(script.read_text().replace("== 1", "== 2"))
    code, out, err = typed("1")
    assert code == 1
    assert "assert len(boxes()) == 2" in out
    assert err.startswith(f"clearformer: cell 6 of {script} stopped in line 1, ")
    assert err.count("\n") == 1
    assert json.loads(typed("--json")[1])["next"] == 1


def test_ctrl_c_gives_130(typed, guide: Path):
    script = guide / "1_boxes" / "01_two.py"
    script.write_text(script.read_text().replace("assert", "raise KeyboardInterrupt\nassert"))
    assert typed("1")[0] == 130


def test_notebooks_are_written_with_the_modules_they_import(typed, tmp_path: Path):
    code, out, _ = typed("picture", "--notebook", "--out", "new/books")
    assert code == 0
    assert out == "new/books/picture.ipynb\n"
    assert {path.name for path in (tmp_path / "new" / "books").iterdir()} == {"picture.ipynb", "shared.py"}
    assert typed("--notebook", "--out", "all")[1].split() == [
        "all/01_two.ipynb",
        "all/02_more.ipynb",
        "all/picture.ipynb",
    ]


def test_an_exercise_is_written_once_and_never_over_what_was_done(typed, tmp_path: Path):
    assert typed("--exercise", "1", "--out", "mine") == (0, "mine/exercise_1.py\n", "")
    (tmp_path / "mine" / "exercise_1.py").write_text("mine")
    code, _, err = typed("--exercise", "1", "--out", "mine")
    assert code == 2
    assert "a new file was expected at mine/exercise_1.py, but there is one" in err
    assert (tmp_path / "mine" / "exercise_1.py").read_text() == "mine"


def test_each_call_shows_one_more_hint_up_to_the_last(typed):
    shown = [typed("--hint", "2")[1] for _ in range(4)]
    assert [text.splitlines()[-1] for text in shown] == [
        "hint 1 of 3 to exercise 2", "hint 2 of 3 to exercise 2", "hint 3 of 3 to exercise 2, the last",
        "hint 3 of 3 to exercise 2, the last",
    ]  # fmt: skip
    assert shown[0] != shown[1] != shown[2] == shown[3]


def test_a_class_gets_the_exercises_and_a_page_and_no_solution(typed, tmp_path: Path):
    assert typed("--class", "class")[0] == 0
    written = {path.name: path.read_text() for path in (tmp_path / "class").iterdir()}
    assert sorted(written) == ["README.md", *(f"exercise_{number}.py" for number in range(1, 6))]
    assert all("raise NotImplementedError" in text for text in written.values())
    assert len(written["README.md"].splitlines()) < 60


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["3"], "a stage from 1 to 2 or a question (picture) was expected, found '3'; `clearformer guide` lists them"),
        (["pictur"], "found 'pictur'; did you mean 'picture'?"),
        (["1", "--notebook", "--out", "guide/1_boxes/01_two.py"], "a file that can be written to was expected at"),
        (["--exercise", "6"], "an exercise from 1 to 5 was expected, found 6"),
        (["--exercise", "one"], "--exercise: no type matching INT could be instantiated from ['one']"),
        (["--hint", "0"], "an exercise from 1 to 5 was expected, found 0"),
        (["--grade", "nowhere"], "a file or a folder to grade was expected at nowhere, but there is none"),
        (["--grade", "guide/1_boxes/01_two.py"], "a file called exercise_1.py to exercise_5.py was expected, found 01"),
        (["--grade", "guide"], "a folder for each student was expected in guide, with files exercise_1.py to"),
        (["--hint", "1", "--exercise", "1"], "was expected, found --exercise and --hint; ask for one"),
        (["1", "--json"], "was expected, found STAGE and --json; ask for one"),
        (["--notebok"], "the flag --notebok is unknown (did you mean --notebook?); see clearformer guide --help"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_and_exit_code_2(typed, arguments: list[str], words: str):
    code, out, err = typed(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("content", ["{", "[]", '{"finished": 3}', '{"finished": [], "hints": {"1": "x"}}', '{"x": 1}'])
def test_a_damaged_file_of_progress_is_named(typed, tmp_path: Path, content: str):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "guide.json").write_text(content)
    code, _, err = typed()
    assert code == 2
    assert err.count("\n") == 1
    assert f"{tmp_path / 'state' / 'guide.json'} should say which stages are finished, but cannot be read" in err


@pytest.mark.skipif(os.name == "nt", reason="the variables are those of Unix")
def test_progress_is_kept_where_the_system_keeps_state(monkeypatch: pytest.MonkeyPatch):
    from clearformer.guide.progress import state_folder

    monkeypatch.delenv("CLEARFORMER_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_folder() == Path("/state/clearformer")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_folder() == Path.home() / ".local" / "state" / "clearformer"
