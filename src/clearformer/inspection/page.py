"""Parts of a self-contained HTML page, without scripts, for dark and light, wide and narrow screens."""

import html
from collections.abc import Sequence

LIGHT = {
    "paper": "#ffffff",
    "card": "#f3f5f8",
    "line": "#d3d9e2",
    "ink": "#1a222e",
    "muted": "#566070",
    "accent": "#1f5fae",
    "contrast": "#b3323d",
    "right": "#1a6f33",
    "wrong": "#b3261e",
}
DARK = {
    "paper": "#12161d",
    "card": "#1c222c",
    "line": "#38414f",
    "ink": "#e7eaf0",
    "muted": "#a4aebc",
    "accent": "#7fb3ff",
    "contrast": "#ff929b",
    "right": "#63d38b",
    "wrong": "#ff8f85",
}
"""colours by what they are for; `accent` and `contrast` are the two lines of a plot"""
MORE_LIGHT = {"third": "#00705a", "fourth": "#9c3f86", "fifth": "#a84a00"}
MORE_DARK = {"third": "#3fd0ab", "fourth": "#f09ad6", "fifth": "#ff9d5c"}
"""of a plot with many lines, told apart from `accent`, `ink` and each other with each kind of colour blindness"""


def _colours(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


PALETTE = f"""
:root {{ color-scheme: light dark; {_colours(LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_colours(DARK)} }} }}
"""
MORE = f"""
:root {{ {_colours(MORE_LIGHT)} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_colours(MORE_DARK)} }} }}
"""
STYLE = """
* { box-sizing: border-box; }
body { font: 1rem/1.55 system-ui, sans-serif; background: var(--paper); color: var(--ink); max-width: 46rem;
  margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; } h2 { font-size: 1.35rem; margin: 3rem 0 .5rem; }
h3 { font-size: 1.1rem; margin: 2.25rem 0 .5rem; } p { margin: .5rem 0 1rem; }
.muted, figcaption, dt, small, th { color: var(--muted); } small, figcaption { font-size: .9rem; }
a { color: var(--accent); }
ol, ul { padding: 0; list-style: none; } li { background: var(--card); border-radius: .4rem; padding: .6rem .8rem;
  margin: .5rem 0; break-inside: avoid; }
.right { color: var(--right); } .wrong { color: var(--wrong); } .answer { font-weight: 600; }
.prose { white-space: pre-wrap; } .prose b { color: var(--accent); }
ins { color: var(--right); text-underline-offset: .2em; } del, mark { color: var(--wrong); } b { font-weight: 600; }
mark { background: none; text-decoration: underline wavy; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .5rem; margin: 1rem 0; }
.facts div { background: var(--card); border-radius: .4rem; padding: .6rem .8rem; } dd { margin: 0; }
.facts dd { font-size: 1.35rem; line-height: 1.3; } .facts dt { font-size: .9rem; }
.plan { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 1rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .3rem .8rem; text-align: right; } th[scope=row] { text-align: left; }
td { background: color-mix(in srgb, var(--accent) calc(var(--share) * 30%), var(--paper)); }
figure { margin: 1rem 0; } figure svg { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .4rem; }
code { font: .9rem/1.5 ui-monospace, monospace; } pre { background: var(--card); border-radius: .4rem;
  padding: .6rem .8rem; margin: .2rem 0 1rem; white-space: pre-wrap; }
"""


def page(title: str, body: str) -> str:
    """The whole file. `body` is HTML, as are the cards of `items` and `figure`'s SVG; other arguments are escaped."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{PALETTE}{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def heading(level: int, words: str) -> str:
    return f"<h{level}>{html.escape(words)}</h{level}>\n"


def paragraph(words: str) -> str:
    return f"<p>{html.escape(words)}</p>\n"


def link(target: str, words: str) -> str:
    """A paragraph that leads to another file."""
    return f'<p><a href="{html.escape(target)}">{html.escape(words)}</a></p>\n'


def facts(named: dict[str, str]) -> str:
    """A few large numbers, each above its name."""
    items = (f"<div><dd>{html.escape(value)}</dd><dt>{html.escape(name)}</dt></div>" for name, value in named.items())
    return f'<dl class="facts">{"".join(items)}</dl>\n'


def plan(named: dict[str, str]) -> str:
    """Names in one column and their values in the other."""
    items = (f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in named.items())
    return f'<dl class="plan">{"".join(items)}</dl>\n'


def figure(svg: str, caption: str) -> str:
    """A picture with a caption, which screen readers read as well."""
    named = svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(caption)}" ', 1)
    return f"<figure>{named}<figcaption>{html.escape(caption)}</figcaption></figure>\n"


def items(bodies: Sequence[str]) -> str:
    """A list of cards; `bodies` are HTML."""
    return "<ul>" + "\n".join(f"<li>{body}</li>" for body in bodies) + "</ul>\n"


def count_table(corner: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Counts with the same names for rows and columns; darker cells are a larger share of their row."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    rows = (
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(f'<td style="--share: {count / max(1, sum(row)):.2f}">{count:,}</td>' for count in row)
        + "</tr>"
        for name, row in zip(names, counts, strict=True)
    )
    table = f'<table><tr><th scope="row">{html.escape(corner)}</th>{head}</tr>\n' + "\n".join(rows) + "</table>"
    return f'<div class="scroll">{table}</div>\n'


def commands(listed: dict[str, str]) -> str:
    """Commands, each below a line about its purpose."""
    return "".join(
        f"<p>{html.escape(purpose)}</p><pre><code>{html.escape(command)}</code></pre>\n"
        for purpose, command in listed.items()
    )
