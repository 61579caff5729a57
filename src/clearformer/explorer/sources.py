"""The package's source that a page shows beside the numbers: blocks, models, and the softmax of generation."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
FILES = ("blocks/*.py", "models/*.py", "generation/sampling.py")


def sources() -> dict[str, str]:
    """Text by the file's path in the package."""
    paths = sorted(path for pattern in FILES for path in PACKAGE.glob(pattern))
    return {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in paths}
