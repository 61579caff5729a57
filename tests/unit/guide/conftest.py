"""A small guide of two stages and a question, and a folder for what is remembered."""

from pathlib import Path

import pytest

from clearformer.cli.main import main
from clearformer.guide import exercises, recording, stages

FIRST = """# %% [markdown]
# # 1. Two boxes
#
# A stack is a
# list.
#
# *5 minutes*

# %% tags=["code"]
import math


# %% tags=["code"]
def boxes() -> list[str]:
    return ["encoder"]


# %% [markdown]
# **Predict.** How many?

# %%
print(len(boxes()), "[bold]box[/bold]")
boxes()

# %%
assert len(boxes()) == 1
"""
SECOND = FIRST.replace("1. Two", "2. [More]").replace('["encoder"]', '["encoder"] * 6').replace("== 1", "== 6")
QUESTION = """# %% [markdown]
# # Is a picture a picture?
#
# **In short.** Yes.

# %%
import matplotlib.pyplot as plt
from shared import points

figure, axes = plt.subplots()
axes.plot(points)
axes.set_title("three points")
figure
"""


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a small guide, with the real exercises; the state is kept in `tmp_path/state`."""
    root = tmp_path / "guide"
    real = stages.folder()
    for name, text in {
        "1_boxes/01_two.py": FIRST,
        "1_boxes/02_more.py": SECOND,
        "questions/picture.py": QUESTION,
        "questions/shared.py": "points = [1, 2, 4]\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "exercises").symlink_to(real / "exercises")
    for module in (stages, recording, exercises):
        monkeypatch.setattr(module, "folder", lambda: root)
    monkeypatch.setenv("CLEARFORMER_STATE", str(tmp_path / "state"))
    return root


@pytest.fixture
def typed(guide: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`typed("2", ...)`: the exit code of `clearformer guide`, standard output and standard error."""
    monkeypatch.chdir(guide.parent)

    def run(*arguments: str) -> tuple[int, str, str]:
        return main(["guide", *arguments]), *capsys.readouterr()

    return run
