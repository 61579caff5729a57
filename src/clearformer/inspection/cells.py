"""Tables and texts for notebooks, in HTML that needs no page: shaded cells, for light and dark pages, no scripts.

Everything is escaped: tokens come from a model's vocabulary, and a run may be anybody's.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

POSITIVE, NEGATIVE = "63, 134, 224", "224, 122, 63"
"""blue and orange, in red, green and blue"""
STRONGEST = 0.55
"""opacity of a shade of 1, below which text stays readable on both"""


@dataclass(frozen=True)
class Cell:
    """A text, a shade from -1 (orange) over 0 (none) to 1 (blue), and what is shown when the pointer rests on it."""

    text: str
    shade: float = 0.0
    hint: str = ""

    def html(self, tag: str) -> str:
        """The cell as an element: a `td` or a `span`."""
        colour, opacity = (POSITIVE if self.shade > 0 else NEGATIVE), STRONGEST * min(1.0, abs(self.shade))
        hint = f' title="{html.escape(self.hint)}"' if self.hint else ""
        style = f"background: rgba({colour}, {opacity:.2f}); padding: .15em .4em; text-align: center; white-space: pre"
        return f'<{tag} style="{style}"{hint}>{html.escape(self.text)}</{tag}>'


def table(caption: str, header: Sequence[str], rows: Sequence[tuple[str, Sequence[Cell]]]) -> str:
    """A table with a caption above, a name before each row and, unless `header` is empty, above each column."""
    head = "".join(f'<th style="text-align: center">{html.escape(name)}</th>' for name in header)
    lines = [f"<tr><th></th>{head}</tr>"] if header else []
    lines += [
        f'<tr><th style="text-align: left">{html.escape(name)}</th>{"".join(cell.html("td") for cell in cells)}</tr>'
        for name, cells in rows
    ]
    body = "\n".join(lines)
    return (
        f'{_title(caption)}<div style="overflow-x: auto"><table style="border-collapse: collapse">{body}</table></div>'
    )


def texts(caption: str, lines: Sequence[Sequence[Cell]]) -> str:
    """A caption, and each text in a line of its own."""
    return _title(caption) + "".join(
        f'<p style="line-height: 1.8">{"".join(cell.html("span") for cell in cells)}</p>\n' for cells in lines
    )


def _title(caption: str) -> str:
    return f"<div>{html.escape(caption)}</div>\n"
