"""A run as a folder that needs no Python: the C engine's sources, the trained weights, and a program that uses them."""

import shutil
from pathlib import Path

import safetensors.numpy

from clearformer.config import ClassifierConfig
from clearformer.data.imported import NAMES_FILE
from clearformer.engines.c.library import FOLDER
from clearformer.engines.c.tokenizer import require_readable
from clearformer.errors import RunError
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import trained_weights

SOURCES = (FOLDER, FOLDER / "program")


def export(run: RunFolder, folder: Path) -> None:
    """Write `folder`, in which `make` compiles the program `transformer`.

    Raises RunError if the folder is in use or the engine does not read the tokenizer, an imported one; CheckpointError
    if the run has no checkpoint that can be read.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"a new or empty folder was expected, but {folder} is in use; name another")
    require_readable(run.tokenizer)
    weights = dict(trained_weights(run).tensors["model"])
    folder.mkdir(parents=True, exist_ok=True)
    for source in SOURCES:
        for path in (*source.glob("*.[ch]"), *source.glob("Makefile")):
            shutil.copyfile(path, folder / path.name)
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    classes = ("data.json",) if isinstance(run.config.model, ClassifierConfig) else ()
    names = (NAMES_FILE,) if run.tokenizer.imported else ()
    for name in ("config.json", "tokenizer.json", *names, *classes):
        shutil.copyfile(run.folder / name, folder / name)
