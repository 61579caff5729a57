"""Writing the files that a command was asked for."""

from pathlib import Path

from clearformer.errors import ClearformerError


def write_file(path: Path, content: str | bytes) -> None:
    """Write text as UTF-8, or bytes, and make the folder if there is none. Raises ClearformerError if that fails."""
    data = content.encode("utf-8", errors="replace") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise ClearformerError(f"a file that can be written to was expected at {path}, but: {error}") from error
