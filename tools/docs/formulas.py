"""Formulas between dollars as pictures in the page, drawn by matplotlib while the site is built."""

import html

from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath, text_to_path

from clearformer.guide.formulas import replace_formulas

SIZE = 16.0
"""of letters, in units of the picture"""
EM = 14.0
"""units of the picture that are the size of the page's letters, which are larger for the same number than these"""
FONT = FontProperties(size=SIZE, math_fontfamily="stix")
COMMANDS = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C", Path.CLOSEPOLY: "Z"}


def with_formulas(markdown: str) -> str:
    """Markdown with each `$…$` outside code drawn. Raises ValueError for what matplotlib cannot read."""
    return replace_formulas(markdown, draw)


def draw(tex: str) -> str:
    """A formula as SVG in the colour of the text, on its line; its TeX is what a screen reader says."""
    shown = f"${' '.join(tex.split())}$"
    width, height, descent = text_to_path.get_text_width_height_descent(shown, FONT, ismath=True)
    pen = []
    for points, command in TextPath((0, 0), shown, prop=FONT).iter_segments(curves=True, simplify=False):
        pairs = "" if command == Path.CLOSEPOLY else " ".join(f"{x:.2f},{-y:.2f}" for x, y in points.reshape(-1, 2))
        pen.append(COMMANDS[command] + pairs)
    box = f"0 {descent - height:.2f} {width:.2f} {height:.2f}"
    style = f"width:{width / EM:.3f}em;height:{height / EM:.3f}em;vertical-align:{-descent / EM:.3f}em"
    return (
        f'<svg class="formula" role="img" aria-label="{html.escape(shown[1:-1])}" viewBox="{box}" style="{style}">'
        f'<path d="{"".join(pen)}"/></svg>'
    )
