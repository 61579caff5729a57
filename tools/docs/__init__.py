"""The documentation's site: `python -m tools.docs` writes Markdown pages to build/site, the site to build/docs."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Pages = dict[str, str]
"""a page's path in the site, such as "commands/train.md" -> its Markdown"""
Nav = list[Any]
"""what Zensical takes: paths, titles with a path, or titles with a list of the same"""
