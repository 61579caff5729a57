"""Speed on an NVIDIA GPU, in ten minutes: GPT-2 of 124M parameters, context 1,024, bfloat16, beside what people use.

    python benchmarks/speed/gpu.py                       # with NANOGPT=FOLDER beside nanoGPT, too

Training is compared with Hugging Face, and so is generation for 1 and for 16 texts. Of training it says what share of
the GPU's peak is used: 6 N + 12 L D T operations a token (Chowdhery et al. 2022, arXiv:2204.02311, appendix B), over
the peak in bfloat16 without sparsity by NVIDIA's data sheets. At the end the whole test suite runs. Results go to
results/gpu/GPU.json. Nobody has run it on a GPU yet.
"""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import torch
import work
from bench import RESULTS, describe, slug
from pairs import Comparison, NotComparedError, compare

from clearformer.config import GPTConfig

PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L4": 121e12, "L40S": 362e12, "RTX 4090": 165e12}
"""operations a second in bfloat16, by a part of the GPU's name; of the SXM boards where there are several"""
ROUNDS, SECONDS = 5, 5.0
TOKENS = "tokens/s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only to try this script")
    parser.add_argument("--size", choices=("M", "G"), default="G")
    parser.add_argument("--no-tests", action="store_true", help="leave the test suite out")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("a GPU of NVIDIA was expected, found none; run this where there is one", file=sys.stderr)
        return 2
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    found: dict[str, Any] = {"gpu": name, "torch": torch.__version__, "comparisons": {}}
    for pair in pairs_of(options.size, options.device):
        try:
            result = compare(pair, ROUNDS, SECONDS)
        except NotComparedError as error:
            print(f"{pair.name}: {error}", file=sys.stderr)
            continue
        if pair.work == "training" and (peak := peak_of(name)):
            flop = operations_a_token(work.GPTS[options.size], result["parameters"])
            result["share_of_peak"] = {side: round(flop * result[side] / peak, 3) for side in ("ours", "theirs")}
        found["comparisons"][pair.name] = result
        print(describe(pair.name, result, None), result.get("share_of_peak", ""), flush=True)
    path = RESULTS / "gpu" / f"{slug(name)}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if options.no_tests else subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "4"]).returncode


def pairs_of(size: str, device: str) -> list[Comparison]:
    settings, training = {"size": size, "device": device}, {"precision": "bfloat16"}
    peers = ("hugging_face", "nanogpt") if "NANOGPT" in os.environ else ("hugging_face",)
    return [
        *(Comparison("clearformer", peer, "training", settings | training, TOKENS, 1.0) for peer in peers),
        *(
            Comparison("clearformer", "hugging_face", "generation", settings | {"batch": B}, TOKENS, 1.0)
            for B in (1, 16)
        ),
    ]


def operations_a_token(config: GPTConfig, parameters: int) -> float:
    """Of a training step: forward, and backward for twice as many."""
    return 6.0 * parameters + 12.0 * config.num_layers * config.d_model * config.context


def peak_of(name: str) -> float | None:
    """The longest name that fits, so that an L40S is no L4."""
    known = [gpu for gpu in PEAKS if gpu in name]
    return PEAKS[max(known, key=len)] if known else None


if __name__ == "__main__":
    sys.exit(main())
