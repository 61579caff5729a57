"""`clearformer export`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from clearformer.cli.arguments import parse
from clearformer.runs.checkpoint import CheckpointName


@dataclass(frozen=True)
class Export:
    """Write a run's model as a program that needs no Python, which `make` compiles, or for other libraries."""

    run: Positional[Path]
    """the run's folder"""
    folder: Positional[Path]
    """a new folder for the program, or the model"""
    to: Literal["c", "hf", "onnx"] = "c"
    """c: C11, with the weights, the configuration and the tokenizer beside it; hf: what Hugging Face's transformers
    loads, with a model card; onnx: a graph of the whole forward pass, for onnxruntime and others"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Export, arguments, "export")
    from clearformer.api.run import open_run

    opened = open_run(options.run, checkpoint=options.checkpoint)
    if options.to == "hf":
        from clearformer.interop.exporting import export_model

        export_model(opened, options.folder)
        print(f"{options.folder}: load it with transformers, as its README.md says")
        return 0
    if options.to == "onnx":
        from clearformer.interop.onnx import FILE, export_onnx

        export_onnx(opened, options.folder)
        print(f"{options.folder}: load {options.folder / FILE} with onnxruntime")
        return 0
    from clearformer.engines.c.export import export

    export(opened, options.folder)
    print(f"{options.folder}: type make -C {options.folder}, then {options.folder / 'transformer'} --help")
    return 0
