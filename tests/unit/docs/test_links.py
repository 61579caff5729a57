"""Links of the repository's Markdown lead somewhere, there and in the site."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.docs.links import rewrite, site_path, source_pages

ROOT = Path(__file__).parents[3]
TEXTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "guide").rglob("*.md")]
CODE = re.compile(r"^(`{3,}).*?^\1$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def links(file: Path) -> Iterator[str]:
    text = CODE.sub("code", file.read_text(encoding="utf-8"))
    yield from (target for target in re.findall(r"\]\(([^)\s]+)\)", text) if ":" not in target)


def anchors(file: Path) -> set[str]:
    """The anchors of headings as Git hosts make them: lower case, spaces as hyphens, without punctuation."""
    headings = re.findall(
        r"^#+ (.+)$", CODE.sub(lambda found: found[0].strip("`"), file.read_text("utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_of_a_text_leads_to_a_file_and_a_heading_of_it(file: Path):
    for target in links(file):
        path, _, anchor = target.partition("#")
        there = file.parent / path if path else file
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("README.md", "index.md"),
        ("docs/results.md", "results.md"),
        ("docs/decisions/0004-demo-is-a-folder.md", "decisions/0004-demo-is-a-folder.md"),
        ("src/clearformer/blocks", "api/clearformer.blocks.md"),
        ("src/clearformer/blocks/norm.py", "api/clearformer.blocks.md#clearformer.blocks.norm"),
        ("src/clearformer/recipes.py", "api/clearformer.md#clearformer.recipes"),
        ("src/clearformer/checks/__init__.py", "api/clearformer.checks.md#clearformer.checks"),
        ("src/clearformer/cli/train.py", "commands/train.md"),
        ("src/clearformer/engines/c/transformer.mjs", "source/src/clearformer/engines/c/transformer.mjs.md"),
        ("guide/questions", "questions/index.md"),
        ("transformer.py", "source/transformer.py.md"),
    ],
)
def test_a_file_of_the_repository_has_its_page_in_the_site(path: str, page: str):
    assert site_path(path) == page


def test_a_link_to_a_name_in_a_module_leads_to_its_place_in_the_api():
    written = "see [`src/clearformer/blocks/norm.py:layer_norm`](../src/clearformer/blocks/norm.py)"
    there = "../api/clearformer.blocks.md#clearformer.blocks.norm.layer_norm"
    assert rewrite(written, "docs/paper.md", "texts/paper.md") == f"see [`layer_norm`]({there})"


def test_code_and_links_to_other_places_stay_as_they_are():
    written = "`x[0](y.md)` [a](https://arxiv.org/abs/1706.03762) [b](#b)\n\n```python\nf[0](y.md)\n```\n"
    assert rewrite(written, "docs/paper.md", "paper.md") == written


def test_a_file_that_a_page_links_to_becomes_a_page_and_a_folder_a_list():
    made = source_pages({"results.md": "[runs](source/benchmarks/quality.md)"})
    names = {f"source/{path.relative_to(ROOT).as_posix()}.md" for path in (ROOT / "benchmarks/quality").glob("*.*")}
    assert set(made) == {"source/benchmarks/quality.md"} | names
    assert "import" in made["source/benchmarks/quality/baseline.py.md"]
