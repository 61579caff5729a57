"""The API's pages: one a package, with each of its public modules, made by mkdocstrings from docstrings and types."""

import ast

from clearformer.shapes import ALPHABET
from tools.docs import ROOT, Nav, Pages
from tools.docs.links import module, relative

SOURCE = ROOT / "src" / "clearformer"
INHERITING = ("clearformer.config",)
"""modules whose classes are shown with what they inherit"""
INTRODUCTION = """# API

`import clearformer` offers the [names that most need](clearformer.md), and everything can be imported from where it is
defined. Each class and function is shown with its source. Shapes stand in the signatures:
`Float[Tensor, "B H T E"]` is a tensor of floats with these axes.

| letter | axis |
| --- | --- |
{letters}

| package | |
| --- | --- |
{packages}
"""


def packages() -> dict[str, list[str]]:
    """Each package's name -> its public modules, itself first."""
    found: dict[str, list[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if path.stem == "__init__" or not path.stem.startswith("_"):
            package = module(relative(path.parent / "__init__.py"))
            found.setdefault(package, []).append(module(relative(path)))
    return {package: sorted(found[package]) for package in sorted(found)}


def pages() -> tuple[Pages, Nav]:
    """The index, and a page for each package, whose modules mkdocstrings fills in."""
    found = packages()
    letters = "\n".join(f"| `{letter}` | {meaning} |" for letter, meaning in ALPHABET.items())
    rows = "\n".join(f"| [`{package}`]({package}.md) | {_purpose(package)} |" for package in found)
    made = {"api/index.md": INTRODUCTION.format(letters=letters, packages=rows)}
    for package, modules in found.items():
        made[f"api/{package}.md"] = f"# {package}\n\n" + "\n".join(map(_block, modules))
    return made, ["api/index.md", *({package: f"api/{package}.md"} for package in found)]


def _block(name: str) -> str:
    options = "    options:\n      inherited_members: true\n" if name in INHERITING else ""
    return f"::: {name}\n{options}"


def _purpose(package: str) -> str:
    """The first sentence of a package's docstring."""
    file = ROOT / "src" / package.replace(".", "/") / "__init__.py"
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
