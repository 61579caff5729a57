"""Compile the C engine to WebAssembly: `make wasm` writes transformer.wasm beside the C files, which is committed.

The compiler is `ziglang` from PyPI, a whole clang with the sources of a libc: sin, cos, pow, log and tanh are linked
in, so that the module imports nothing and computes the same numbers everywhere. Equal sources give equal bytes.
"""

import subprocess
import sys
from pathlib import Path

from clearformer.engines.c.library import FOLDER, PARTS

MODULE = FOLDER / "transformer.wasm"
OPTIONS = (
    "-target", "wasm32-wasi", "-mexec-model=reactor", "-mcpu=generic+simd128", "-O3",
    "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-Wno-pass-failed",
    "-Wl,--strip-all", "-Wl,-z,stack-size=65536",
)  # fmt: skip
"""a reactor is a library; some loops are too short to be vectorized, which is no reason to warn"""
EXPORTS = (
    "open_model", "read_tensors", "model_bytes", "find_model", "make_room", "encoder_features", "decoder_features",
    "token_logits", "class_logits", "remember", "reorder_cache", "end_of_places", "find_place", "set_touches",
    "loss_of", "adamw", "read_tokenizer", "most_tokens", "encode_text", "decode_tokens",
    "is_never_written",
)  # fmt: skip
"""what JavaScript calls"""


def build(to: Path) -> None:
    """Compile the module. Raises CalledProcessError if the compiler fails; it has printed why."""
    exports = [f"-Wl,--export={name}" for name in EXPORTS]
    command = [sys.executable, "-m", "ziglang", "cc", *OPTIONS, *exports, *PARTS, "-o", str(to)]
    subprocess.run(command, cwd=FOLDER, check=True)
    to.chmod(0o644)


def main() -> None:
    build(MODULE)
    print(f"wrote {MODULE} ({MODULE.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
