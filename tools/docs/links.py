"""From the repository to the site: where each file is found there, and Markdown whose links say so.

Markdown in the repository links to files of the repository, so that it can be read there. In the site, a module is a
part of the API's pages, a command has a page with its help, and other files that a page links to are pages themselves.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tools.docs import ROOT, Pages

RENAMED = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs": "index.md",
    "docs/decisions": "decisions/index.md",
    "guide": "guide/index.md",
    "guide/questions": "questions/index.md",
    "src/clearformer/cli": "commands/index.md",
}
"""path in the repository -> path in the site"""
LEXERS = {".py": "python", ".mjs": "javascript", ".c": "c", ".h": "c", ".toml": "toml", ".json": "json"}
CODE_OR_LINK = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)$"  # code is left alone: a block,
    r"|\[`[^`\n]+?:(?P<symbol>[\w.]+)`\]\((?P<module>[^)\s]+\.py)\)"  # but not [`FILE.py:NAME`](FILE.py)
    r"|`[^`\n]+`"  # or a word of it
    r"|\]\((?P<target>[^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)


def site_path(path: str) -> str:
    """Where a file or folder of the repository is in the site, with the anchor if it is a module."""
    if path in RENAMED:
        return RENAMED[path]
    found = PurePosixPath(path)
    match found.parts:
        case ("docs", *rest):
            return posixpath.join(*rest)
        case ("guide", part, name) if name.endswith(".py"):
            return f"{'questions' if part == 'questions' else 'guide'}/{found.stem}.md"
        case ("src", "clearformer", "cli", name) if name not in ("__init__.py", "main.py", "arguments.py", "tables.py"):
            return f"commands/{found.stem}.md"
        case ("src", "clearformer", *_) if found.suffix == ".py":
            return f"api/{'.'.join(found.parts[1:-1])}.md#{module(path)}"
        case ("src", "clearformer", *_) if (ROOT / path / "__init__.py").exists():
            return f"api/{'.'.join(found.parts[1:])}.md"
    return f"source/{path}.md"


def module(path: str) -> str:
    """The name of a module by its path: clearformer.blocks.norm of src/clearformer/blocks/norm.py."""
    parts = PurePosixPath(path).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rewrite(markdown: str, file: str, page: str) -> str:
    """The Markdown of a `file` of the repository as that of a `page` of the site."""

    def replace(found: re.Match[str]) -> str:
        target, symbol = found["target"] or found["module"], found["symbol"]
        if target is None or ":" in target or target.startswith("#"):
            return found[0]
        path, _, anchor = target.partition("#")
        repository_path = posixpath.normpath(posixpath.join(posixpath.dirname(file), path))
        there, _, name = site_path(repository_path).partition("#")
        anchor = anchor or (f"{module(repository_path)}.{symbol}" if symbol and name else name)
        link = posixpath.relpath(there, posixpath.dirname(page) or ".") + (f"#{anchor}" if anchor else "")
        return f"[`{symbol}`]({link})" if symbol else f"{found[0][: -len(target) - 1]}{link})"

    return CODE_OR_LINK.sub(replace, markdown)


def linked(markdown: str, page: str) -> Iterator[str]:
    """Paths in the site that a page links to."""
    for found in CODE_OR_LINK.finditer(markdown):
        target = found["target"] or found["module"]
        if target and ":" not in target and not target.startswith("#"):
            yield posixpath.normpath(posixpath.join(posixpath.dirname(page), target.partition("#")[0]))


def source_pages(pages: Pages) -> Pages:
    """A page for each file that a page, or one of these pages, links to and that is no page by itself."""
    found: Pages = {}
    wanted = [link for page, text in pages.items() for link in linked(text, page)]
    while wanted:
        page = wanted.pop()
        if page.startswith("source/") and page not in found:
            path = page.removeprefix("source/").removesuffix(".md")
            found[page] = _folder(path) if (ROOT / path).is_dir() else _file(path)
            wanted += linked(found[page], page)
    return found


def _folder(path: str) -> str:
    names = sorted(each.name for each in (ROOT / path).iterdir() if each.is_file() and not each.name.startswith("."))
    links = "".join(f"- [{name}]({name})\n" for name in names)
    return rewrite(f"# {path}\n\n{links}", f"{path}/-", f"source/{path}.md")


def _file(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    return f"# {path}\n\n{code(text, LEXERS.get(Path(path).suffix, 'text'))}"


def code(text: str, lexer: str) -> str:
    """A fenced block, whose fence is longer than any in the text."""
    fence = max(re.findall("`{3,}", text), default="``") + "`"
    return f"{fence}{lexer}\n{text.rstrip()}\n{fence}\n"


def relative(path: Path) -> str:
    """The path in the repository, with slashes."""
    return os.fspath(path.relative_to(ROOT).as_posix())
