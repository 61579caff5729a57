"""Milliseconds of the C engine in WebAssembly under Node, one thread: a forward pass, one that keeps everything on the
way, and a token of generation; of a GPT of 6 layers, width 384 and 6 heads, and 128 tokens.

    python benchmarks/engines/wasm.py --rounds 20

The first round is slower, until V8 has optimised what it compiled. Prints one JSON object.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import step
from safetensors.numpy import save_file

from clearformer.config import Config, GPTConfig
from clearformer.engines.c.library import FOLDER
from clearformer.models.initial import count_parameters, initial_weights

MODEL = GPTConfig(vocab_size=256, context=128, d_model=384, num_heads=6, num_layers=6, d_ff=1536)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_file(initial_weights(MODEL, 1), Path(folder) / "model.safetensors")
        (Path(folder) / "config.json").write_text(Config(dataset="", model=MODEL).to_json())
        command = ["node", str(Path(__file__).with_suffix(".mjs")), str(FOLDER), folder, str(options.rounds)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    times = {name: {key: round(value, 2) for key, value in times.items()} for name, times in found.items()}
    size = (FOLDER / "transformer.wasm").stat().st_size
    print(json.dumps({"processor": step.processor(), "parameters": count_parameters(MODEL), "bytes": size, **times}))


if __name__ == "__main__":
    main()
