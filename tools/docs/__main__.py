"""Build the site: `python -m tools.docs` into build/docs, in a minute or two. Needs no network.

`--quick` leaves out what takes time: the page that runs a model, for which two are trained, and the sources in the API.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tools.docs import ROOT, Nav, Pages, api, commands, guide, live, texts
from tools.docs.links import source_pages

HERE = Path(__file__).parent


def write(folder: Path, quick: bool) -> None:
    """Write what Zensical reads: `folder`/site with all pages and files, and `folder`/mkdocs.yml."""
    site = folder / "site"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(HERE / "static", site)
    pages, nav = all_pages()
    if not quick:
        live.write(folder, site)
        pages = live.framed(pages)
    for page, text in pages.items():
        (site / page).parent.mkdir(parents=True, exist_ok=True)
        (site / page).write_text(text, encoding="utf-8")
    texts.copy_files(site)
    guide.copy_pictures(site)
    options = {"extensions": [str(HERE / "demonstrations.py")], "show_source": not quick}
    reader = {"paths": [str(ROOT / "src")], "options": options}
    plugins = {"mkdocstrings": {"handlers": {"python": reader}}}
    settings = {"INHERIT": str(HERE / "settings.yml"), "nav": nav, "plugins": plugins}
    (folder / "mkdocs.yml").write_text(json.dumps(settings, indent=1), encoding="utf-8")  # JSON is YAML


def all_pages() -> tuple[Pages, Nav]:
    """All pages, and their order."""
    pages = texts.pages()
    command_pages, command_nav = commands.pages()
    api_pages, api_nav = api.pages()
    guide_pages, stage_nav, question_nav = guide.pages()
    pages |= command_pages | api_pages | guide_pages
    pages |= source_pages(pages)
    nav: Nav = [
        {"Start here": texts.START},
        {"Guide": stage_nav},
        {"Questions": question_nav},
        {"Checks": texts.CHECKS},
        {"Measured": texts.MEASURED},
        {"Commands": command_nav},
        {"API": api_nav},
        {"Project": texts.project(pages)},
    ]
    return pages, nav


def build(folder: Path) -> int:
    """Run Zensical, which stops at a link that leads nowhere; return its exit code."""

    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    done = subprocess.run([*command, "--config-file", str(folder / "mkdocs.yml")])
    if done.returncode == 0:
        # pages opened from a disk cannot read JSON, but run a script
        index = (folder / "docs" / "search.json").read_text(encoding="utf-8")
        (folder / "docs" / "search.js").write_text(f"var __index = {index}", encoding="utf-8")
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.docs", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="without models and sources")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for site/ and docs/ (default: build)")
    options = parser.parse_args()
    folder = options.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, options.quick)
    code = build(folder)
    if code == 0:
        print(f"open {folder / 'docs' / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
