"""A real bug that the checks find: RoFormerForCausalLM attends to the future in transformers 5.17.0, not in 5.23.0.

For each version, the checks of masks run in a separate environment under build/, on a small random model with
`is_decoder=True`. The results are printed and written to results/roformer.json.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "roformer.json"
VERSIONS = ("5.17.0", "5.23.0")
RUN = """
import json, platform, torch, transformers
from clearformer.checks.recognise import recognise
from clearformer.checks.models.run import choose, run_checks
torch.manual_seed(0)
config = transformers.RoFormerConfig(
    vocab_size=67, embedding_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=32, is_decoder=True,
)
subject = recognise(transformers.RoFormerForCausalLM(config))
found = {
    result.id: {"status": result.outcome.status, "cause": result.outcome.cause, "measured": result.outcome.measured,
                "tolerance": result.outcome.tolerance, "case": result.outcome.case, "means": result.outcome.means}
    for result in run_checks(subject, choose(["masks"]))
}
print(json.dumps({"torch": torch.__version__, "python": platform.python_version(), "checks": found}))
"""


def environment(version: str) -> Path:
    """The Python of an environment with that version of transformers, created if missing."""
    folder = ROOT / "build" / "benchmarks" / f"transformers-{version}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / "installed.txt"
    if not done.exists():
        print(f"installing transformers {version} into {folder.relative_to(ROOT)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        # only torch: an older transformers is incompatible with some of the other constraints
        pinned = next(
            line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")
        )
        constraints = folder / "constraints.txt"
        constraints.write_text(pinned)
        packages = ["-e", str(ROOT), f"transformers=={version}"]
        subprocess.run([python, "-m", "pip", "install", "-q", "--constraint", constraints, *packages], check=True)
        done.touch()
    return python


def measure(version: str) -> dict[str, Any]:
    """The results of the checks of masks in that environment."""
    done = subprocess.run([environment(version), "-c", RUN], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    results = {version: measure(version) for version in VERSIONS}
    for version, result in results.items():
        print(f"transformers {version}")
        for name, found in result["checks"].items():
            measured = "" if found["measured"] is None else f"{found['measured']:.2g} (at most {found['tolerance']:g})"
            print(f"  {name:<18} {found['status']:<15} {found['cause']:<12} {measured}")
            if found["status"] == "failed":
                print(f"    {found['case']}\n    {found['means']}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written to {RESULTS.relative_to(ROOT)}")
    old, new = (results[version]["checks"]["masks.future"] for version in VERSIONS)
    if old["status"] != "failed" or new["status"] != "passed":
        sys.exit("masks.future was expected to fail in the first version and to pass in the second")


if __name__ == "__main__":
    main()
