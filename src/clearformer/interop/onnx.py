"""From a run to ONNX (https://onnx.ai): a graph of its whole forward pass, which onnxruntime and others compute."""

import importlib.util
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch

from clearformer.errors import InteropError
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxscript")
INPUTS = {
    "gpt": {"tokens": "T"},
    "bert": {"tokens": "T", "real": "T", "segments": "T"},
    "classifier": {"tokens": "T", "real": "T", "segments": "T"},
    "transformer": {"source": "S", "target": "T", "source_real": "S", "target_real": "T"},
}
"""of each family, in the order of `forward`, and their lengths; the first dimension is B"""
EXAMPLE = {"S": 3, "T": 2}
"""lengths to trace with: different, and not 1, which would stay fixed"""


def export_onnx(run: RunFolder, folder: Path) -> None:
    """Write `folder` with model.onnx, whose batch and lengths are free up to the context, and tokenizer.json.

    Raises InteropError if the folder is in use or a package is missing, CheckpointError if the run has no checkpoint
    that can be read.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InteropError(f"a new or empty folder was expected, but {folder} is in use; name another")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise InteropError(
            f'the package {missing[0]} was expected for --to onnx, found none; type: pip install "clearformer[onnx]"'
        )
    model = load_model(run, "torch")[0].cpu().requires_grad_(False)  # a learned bias would take another kernel
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's exporter, about itself
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(model, **_example(model), dynamo=True, verbose=False)
    assert program is not None, "without a file, the exporter returns the program"
    program.save(folder / FILE)
    shutil.copyfile(run.folder / "tokenizer.json", folder / "tokenizer.json")


def _example(model: Any) -> dict[str, Any]:
    """Inputs to trace a model with, their names, and which of their dimensions are free."""
    config = model.config
    inputs = INPUTS[config.kind]
    rows = torch.export.Dim("B")
    lengths = {length: torch.export.Dim(length, max=config.context) for length in inputs.values()}
    example = {
        name: torch.ones(2, EXAMPLE[length], dtype=torch.bool if name.endswith("real") else torch.long)
        for name, length in inputs.items()
    }
    if "segments" in example:
        example["segments"].zero_()  # a model may have one only
    return {
        "args": tuple(example.values()),
        "input_names": list(example),
        "output_names": ["logits"],
        "dynamic_shapes": tuple({0: rows, 1: lengths[length]} for length in inputs.values()),
    }
