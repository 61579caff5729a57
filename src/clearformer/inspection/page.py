"""Pieces of an HTML page that stands in one file and needs no network."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #d8dee8; }
table { border-collapse: collapse; } td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #d8dee8; } pre { background: #f4f6f9; padding: .8rem; white-space: pre-wrap; }
svg { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #556; font-size: .9rem; }
"""


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it as HTML."""

    heading: str
    body: str


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    body = "\n".join(f"<section><h2>{html.escape(part.heading)}</h2>\n{part.body}</section>" for part in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{header}</tr>\n" + "\n".join(lines) + "</table>"


def text(content: str) -> str:
    return f"<pre>{html.escape(content)}</pre>"
