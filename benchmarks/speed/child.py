"""One system and one work, in a process of its own: `python child.py '{"system": ..., "work": ..., ...}'`.

It prints what it is as one line of JSON, and then, for each line "SECONDS" it reads, does the work for that long and
prints what that took.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from work import Work


def build(system: str, work: str, **settings: Any) -> Work:
    """`clearformer numpy` is the module `systems.clearformer` with its engine."""
    module, _, engine = system.partition(" ")
    made: Work = getattr(importlib.import_module(f"systems.{module}"), work)(
        **settings, **({"engine": engine} if engine else {})
    )
    return made


def measure(work: Work, seconds: float) -> dict[str, float]:
    """`seconds` of a unit's time, and the processors' seconds that it took in all."""
    runs, started, own = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds or runs < 2:
        work.run()
        runs += 1
    return {
        "per_second": runs * work.units / (time.perf_counter() - started),
        "own_seconds": time.process_time() - own,
    }


def main() -> None:
    work = build(**json.loads(sys.argv[1]))
    work.run()
    print(json.dumps({"parameters": work.parameters, "facts": work.facts}), flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(work, float(line))), flush=True)


if __name__ == "__main__":
    main()
