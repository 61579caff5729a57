"""Run the guide's stages and questions in full, and record what they print and draw: `make guide`.

python tools/guide.py [NAME ...]      only those whose file names begin with a NAME, such as 06 or recurrence

Each runs in a process of its own, as `python guide/....py` would run it.
"""

import subprocess
import sys
import time

from clearformer.errors import ClearformerError
from clearformer.guide.recording import figures_folder, record
from clearformer.guide.stages import find, read_questions, read_stages


def main(names: list[str]) -> int:
    """Record all scripts that are named, or all; return 1 if one failed."""
    scripts = [script.name for script in [*read_stages(), *read_questions()]]
    chosen = [name for name in scripts if not names or name.startswith(tuple(names))]
    failed = [name for name in chosen if subprocess.run([sys.executable, __file__, "--one", name]).returncode]
    print(f"guide: failed: {', '.join(failed)}" if failed else f"guide: {len(chosen)} recorded in {figures_folder()}")
    return 1 if failed else 0


def record_one(name: str) -> int:
    started = time.monotonic()
    try:
        files = record(find(name, [*read_stages(), *read_questions()]), figures_folder())
    except ClearformerError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{name:<28} {time.monotonic() - started:6.1f} s   {', '.join(file.name for file in files)}")
    return 0


if __name__ == "__main__":
    sys.exit(record_one(sys.argv[2]) if sys.argv[1:2] == ["--one"] else main(sys.argv[1:]))
