"""JavaScript modules as one script, since a page that is opened from a disk cannot import files.

A module becomes a function that is called once, and returns what others import from it:

    import { a as b } from "./x.mjs";        const { a: b } = x;
    export function f() { … }                function f() { … }   … return { f };

So names are a module's own, as in a browser. What a bundle needs: imports stand at the beginning of a line and name
what they import, what is exported is a constant, function or class, and no module imports itself by a detour.
"""

import re
from collections import defaultdict
from pathlib import Path

IMPORT = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=const|function|async|class)", re.MULTILINE)


def bundle(entry: Path) -> str:
    """The script that does what the module `entry` does, with all that it imports."""
    modules: dict[Path, str] = {}
    imported: dict[Path, set[str]] = defaultdict(set)
    _add(entry.resolve(), modules, imported, ())
    numbers = {path: number for number, path in enumerate(modules)}
    return "\n".join(
        f"/* {path.name} */\nconst module{numbers[path]} = (() => {{\n"
        f"{_body(path, source, numbers)}return {{ {', '.join(sorted(imported[path]))} }};\n}})();"
        for path, source in modules.items()
    )


def _add(path: Path, modules: dict[Path, str], imported: dict[Path, set[str]], parents: tuple[Path, ...]) -> None:
    """Put the module behind all that it imports."""
    assert path not in parents, f"{path} imports itself by a detour: {', '.join(map(str, parents))}"
    source = path.read_text(encoding="utf-8")
    for names, origin in IMPORT.findall(source):
        other = (path.parent / origin).resolve()
        imported[other] |= {name for name, _ in _pairs(names)}
        if other not in modules:
            _add(other, modules, imported, (*parents, path))
    modules[path] = source


def _pairs(names: str) -> list[tuple[str, str]]:
    """`a as b, c` as [(a, b), (c, c)]."""
    parts = [part.split(" as ") for part in re.sub(r"\s+", " ", names).strip(" ,").split(",")]
    return [(part[0].strip(), part[-1].strip()) for part in parts]


def _body(path: Path, source: str, numbers: dict[Path, int]) -> str:
    """What a module does, with constants for what it imports."""

    def constants(found: re.Match[str]) -> str:
        names = ", ".join(f"{name}: {local}" for name, local in _pairs(found[1]))
        return f"const {{ {names} }} = module{numbers[(path.parent / found[2]).resolve()]};\n"

    return EXPORT.sub("", IMPORT.sub(constants, source))
