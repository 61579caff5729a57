"""A script as a Jupyter notebook: the same cells, and the diff from the stage before after the first text."""

import jupytext
from nbformat.v4 import new_markdown_cell

from clearformer.guide.stages import Script

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def as_notebook(script: Script) -> str:
    """The text of an .ipynb file, without any output. Equal scripts give equal text."""
    notebook = jupytext.read(script.path, fmt="py:percent")
    notebook.metadata = {"kernelspec": KERNEL}
    if script.before is not None:
        notebook.cells.insert(1, new_markdown_cell(diff_as_markdown(script)))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # nbformat draws random ones
    text: str = jupytext.writes(notebook, fmt="ipynb")
    return text


def diff_as_markdown(script: Script) -> str:
    """What changes in the program since the stage before: a sentence, and the diff."""
    assert script.before is not None
    if not script.diff:
        return f"The program is that of stage {script.before.number}, unchanged."
    return f"What changes in the program since stage {script.before.number}:\n\n```diff\n{script.diff}\n```"
