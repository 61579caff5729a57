"""One HTML file that holds the page, the engine in WebAssembly, and runs with their weights.

Nothing is loaded and nothing listens. The policy in the file's head names the hash of the one script that may run, and
permits no connection. Texts are base64 or JSON without "<", so that none can end its element.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clearformer import __version__
from clearformer.engines.c.library import FOLDER as ENGINE
from clearformer.errors import RunError
from clearformer.explorer.contents import Contents
from clearformer.explorer.modules import bundle
from clearformer.explorer.sources import sources

STATIC = Path(__file__).parent / "static"


def page(runs: Sequence[Contents]) -> str:
    """The whole file; without runs it opens their folders."""
    title = " and ".join(run.about["name"] for run in runs)
    script = _script(STATIC / "main.mjs")
    style = "\n".join(path.read_text(encoding="utf-8") for path in sorted(STATIC.glob("*.css"), reverse=True))
    elements = [
        _element("text/plain", "worker-source", _script(STATIC / "worker.mjs")),
        _element("application/octet-stream", "engine", _base64((ENGINE / "transformer.wasm").read_bytes())),
        _element("application/json", "sources", _json(sources())),
        _element("application/json", "runs", _json([run.about for run in runs])),
        *(
            _element("application/octet-stream", f"weights-{number}-{name}", _base64(weights))
            for number, run in enumerate(runs)
            for name, weights in run.weights.items()
        ),
    ]
    parts = {
        "title": html.escape(f"{title} · clearformer" if title else "clearformer"),
        "policy": _policy(script, style),
        "version": html.escape(__version__),
        "style": style,
        "elements": "\n".join(elements),
        "script": script,
    }
    found = (STATIC / "index.html").read_text(encoding="utf-8")
    before, *others = found.split("{{")
    return before + "".join(parts[name] + rest for name, rest in (other.split("}}", 1) for other in others))


def write(path: Path, runs: Sequence[Contents]) -> None:
    """Write the page. Raises RunError if the file cannot be written."""
    try:
        path.write_text(page(runs), encoding="utf-8", newline="\n")
    except OSError as error:
        raise RunError(f"a file that can be written to was expected at {path}, but: {error}; choose --out") from error


def _policy(script: str, style: str) -> str:
    """A Content-Security-Policy; a worker has it too, and takes its script from memory."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)} 'wasm-unsafe-eval'",
            f"style-src {_hash(style)}",
            "worker-src blob:",
            "img-src data: blob:",
            "connect-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _script(entry: Path) -> str:
    """A bundle without what would end its element, or begin a comment in it."""
    return bundle(entry).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _json(value: Any) -> str:
    return json.dumps(value).replace("<", "\\u003c")


def _element(kind: str, name: str, text: str) -> str:
    return f'<script type="{kind}" id="{html.escape(name)}">{text}</script>'
