"""Run the tests of the C engine under a sanitizer of gcc on Linux, and print what it reports.

    python benchmarks/robustness/sanitizers.py address     # AddressSanitizer and UndefinedBehaviorSanitizer
    python benchmarks/robustness/sanitizers.py thread      # ThreadSanitizer, with 3 threads

`address`: new memory is full of NaN, so that numbers read before they are written fail a test, and every part of a
room is followed by a gap (room.c). `thread`: openmp.c, beside this file, stands for OpenMP's runtime. Words after the
name go to pytest, such as paths of other tests. The exit status is 1 if a test fails or the sanitizer reports anything;
`address` ends at its first report.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = {
    "address": ("-fsanitize=address,undefined -fno-sanitize-recover=undefined", ("libasan.so", "libubsan.so")),
    "thread": (f"-fsanitize=thread -Wl,-Bsymbolic {Path(__file__).with_name('openmp.c')}", ("libtsan.so",)),
}
"""options of gcc, and the libraries that must be loaded before Python's own"""
COMPILE = (
    "import os; del os.environ['LD_PRELOAD']; "  # which would make the compiler slow
    "from clearformer.engines import compiler; compiler.TIMEOUT_SECONDS = 3600.0; "
    "from clearformer.engines.c import library; library.library()"
)
"""for the cache"""
ANOTHER_BUILD = "test_a_compiler_without_openmp"
"""compares two builds to the bit, which sanitizers round differently"""


def environment(sanitizer: str, folder: Path) -> dict[str, str]:
    """What the tests need: reports go to `folder`, as do compiled libraries."""
    options, libraries = SANITIZERS[sanitizer]
    log = f"log_path={folder / 'report'}"
    return os.environ | {
        "CLEARFORMER_CACHE": str(folder),
        "CC": f"gcc -g {options}",
        "LD_PRELOAD": " ".join(_gcc(f"-print-file-name={name}") for name in libraries),
        "OMP_NUM_THREADS": "3",
        "ASAN_OPTIONS": f"{log}:detect_leaks=0:max_malloc_fill_size={2**30}:malloc_fill_byte=255",
        "UBSAN_OPTIONS": f"{log}:print_stacktrace=1",
        "TSAN_OPTIONS": f"{log}:ignore_noninstrumented_modules=1",
    }


def _gcc(option: str) -> str:
    return subprocess.run(["gcc", option], check=True, capture_output=True, text=True).stdout.strip()


def _conformance() -> list[str]:
    """The cases of this engine."""
    command = [sys.executable, "-m", "pytest", "tests/conformance", "--collect-only", "-q"]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line for line in lines if "[c-" in line or "[c]" in line]


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sanitizer", choices=SANITIZERS)
    parser.add_argument("tests", nargs="*", help="by default all of the C engine")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        variables = environment(options.sanitizer, folder)
        subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, env=variables, check=True)
        tests = folder / "tests"
        tests.write_text("\n".join(options.tests or ["tests/unit/engines/c", *_conformance()]), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-s", "-k", f"not {ANOTHER_BUILD}", f"@{tests}"]
        print("$", shlex.join(command), flush=True)
        failed = subprocess.run(command, cwd=ROOT, env=variables, check=False).returncode
        reports = sorted(folder.glob("report*"))
        for report in reports:
            print(report.read_text(encoding="utf-8", errors="replace")[:4000])
        print(f"{options.sanitizer}: {'something is wrong, see above' if failed or reports else 'nothing found'}")
        return 1 if failed or reports else 0


if __name__ == "__main__":
    raise SystemExit(main())
