"""Generate docs/checks.md, the reference of all checks, from their docstrings: `python docs/checks.py`."""

from pathlib import Path

from clearformer.checks.report.pages import handbook

page = Path(__file__).with_suffix(".md")
page.write_text(handbook(), encoding="utf-8")
print(page)
