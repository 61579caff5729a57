"""samples.jsonl: what the model made of a few validation examples, a JSON object per line with `step` and `samples`.

Each sample has what the model read, what is right if anything is, and last what it answered, by their names.
"""

from pathlib import Path
from typing import Any

from clearformer.runs import metrics

Sample = dict[str, str]


def append(path: Path, step: int, samples: list[Sample]) -> None:
    """Add the samples of a step. Raises CheckpointError if they cannot be written, for example to a full disk."""
    metrics.append(path, {"step": step, "samples": samples})


def read(path: Path) -> list[dict[str, Any]]:
    """All complete lines; an incomplete last line is ignored. Raises CheckpointError for any other damage."""
    return metrics.read_lines(path, _is_valid, "an object with step and samples, texts by their names,")


def truncate(path: Path, step: int) -> None:
    """Remove the lines after `step`: training resumes there and will write them again."""
    if path.exists():
        metrics.rewrite(path, [line for line in read(path) if line["step"] <= step])


def _is_valid(line: Any) -> bool:
    return (
        isinstance(line, dict)
        and type(line.get("step")) is int
        and isinstance(line.get("samples"), list)
        and all(isinstance(sample, dict) and sample and _are_texts(sample) for sample in line["samples"])
    )


def _are_texts(sample: dict[str, Any]) -> bool:
    return all(isinstance(text, str) for text in sample.values())
