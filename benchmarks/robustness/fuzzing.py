"""What fuzzers of C code share: a driver, compiled with sanitizers, answers each case with a line, which is judged.

A case is two files and token ids. The driver, a C file that includes fuzzing.h, reads them from its standard input.
"""

import argparse
import random
import struct
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from clearformer.engines.c.library import FOLDER

COMMAND = [
    *("cc", "-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{FOLDER}"),
    *("-Werror=incompatible-pointer-types", "-Werror=int-conversion"),
]
BYTES = [
    *(b"", b"\xff", b"\0", b'"', b"\\", b"\\u0000", b"\\ud800", b"9" * 20, b"-", b"0", b"1", b"{", b"}", b"[", b"]"),
    *(b",", b":", b"null", b"e", b" ", b"\n", b"[" * 99, b'{"a":' * 99),
]

Case = tuple[bytes, bytes, list[int]]
Found = tuple[Counter[str], list[str]]
"""how many cases end how, and what is wrong"""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with every key or index of it."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip a bit, or replace, insert, remove or repeat some bytes."""
    start, length = rng.randrange(len(data) + 1), rng.choice([0, 1, 1, 2, 4, 50, len(data)])
    if rng.random() < 0.3 and start < len(data):
        return data[:start] + bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 :]
    put = rng.choice([*BYTES, rng.randbytes(1), data[start : start + rng.randrange(60)] * 2])
    return data[:start] + put + data[start + length :]


def fuzz(
    driver: Path,
    parts: Sequence[str],
    seeds: range,
    make_case: Callable[[int], Case],
    kind_of: Callable[[str], str],
    fault_in: Callable[[str, Case], str],
) -> Found:
    """Run the driver, compiled with these parts of the engine, on the case of each seed.

    `kind_of` names a line in the count of outcomes, `fault_in` says what is wrong with it, nothing if it is right.
    """
    outcomes, faults = Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "driver"
        sources = [driver, *(FOLDER / part for part in parts)]
        subprocess.run([*COMMAND, *map(str, sources), "-o", str(program), "-lm"], check=True)
        answered = answers(program, (make_case(seed) for seed in seeds))
        for seed, (case, line) in zip(seeds, answered, strict=False):  # it may end early
            outcomes[kind_of(line) if line else "crashed"] += 1
            fault = fault_in(line, case) if line else "the driver crashed, its report is above"
            faults += [f"{seed}: {fault}"] if fault else []
    return outcomes, faults


def answers(program: Path, cases: Iterable[Case]) -> Iterator[tuple[Case, str]]:
    """Each case with the program's line, an empty one where it has crashed, which is the last."""
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for case in cases:
            *files, ids = case
            for block in (*files, struct.pack(f"{len(ids)}i", *ids)):
                process.stdin.write(struct.pack("I", len(block)) + block)
            process.stdin.flush()
            line = process.stdout.readline().decode("utf-8").removesuffix("\n")
            yield case, line
            if not line:
                return


def main(description: str | None, run_cases: Callable[[range], Found]) -> None:
    """The command line of a fuzzer. Exits with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, help="run one case")
    options = parser.parse_args()
    seeds = range(options.cases) if options.seed is None else range(options.seed, options.seed + 1)
    outcomes, faults = run_cases(seeds)
    for outcome, number in outcomes.most_common():
        print(f"{number:7}  {outcome}")
    for fault in faults:
        print(f"failed: {fault}")
    sys.exit(1 if faults else 0)
