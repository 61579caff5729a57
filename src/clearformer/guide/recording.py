"""What a script printed and drew when it was last run in full: files that are committed beside the scripts.

figures/STAGE.txt       what its cells print, each after a line `# cell N`
figures/STAGE-N.svg     the picture with which cell N ends
"""

import contextlib
import io
import re
from pathlib import Path

import torch
from matplotlib.figure import Figure

from clearformer.guide.running import running
from clearformer.guide.stages import Script, folder
from clearformer.inspection.figures import standalone, svg


def figures_folder() -> Path:
    """Where recordings are kept."""
    return folder() / "figures"


def record(script: Script, to: Path) -> list[Path]:
    """Run a script and write what it printed and drew into a folder; its old files there are deleted.

    It runs on one thread, since more of them add up in another order: equal scripts then give equal bytes.
    Returns the files. Raises CellError where a cell fails.
    """
    to.mkdir(parents=True, exist_ok=True)
    for old in [to / f"{script.name}.txt", *to.glob(f"{script.name}-*.svg")]:
        old.unlink(missing_ok=True)
    written, printed = [], []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with running(script) as run:
            for cell in script.cells:
                if cell.is_text:
                    continue
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    value = run(cell)
                    if value is not None and not isinstance(value, Figure):
                        print(repr(value))
                if isinstance(value, Figure):
                    written.append(to / f"{script.name}-{cell.number}.svg")
                    value.canvas.draw()  # before `svg`, where a dollar sign is a letter: labels of axes have formulas
                    written[-1].write_text(standalone(svg(value)), encoding="utf-8")
                if out.getvalue():
                    printed.append(f"# cell {cell.number}\n{out.getvalue()}")
    finally:
        torch.set_num_threads(threads)
    written.append(to / f"{script.name}.txt")
    written[-1].write_text("".join(printed), encoding="utf-8")
    return written


def printed_by(script: Script) -> dict[int, str]:
    """What each cell printed when the script was recorded, by the cell's number; {} if it never was."""
    path = figures_folder() / f"{script.name}.txt"
    parts = re.split(r"^# cell (\d+)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if path.exists() else []
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def picture_of(script: Script, number: int) -> Path | None:
    """The picture with which a cell ended when the script was recorded; None if there was none."""
    path = figures_folder() / f"{script.name}-{number}.svg"
    return path if path.exists() else None
