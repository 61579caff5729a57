"""A folder as transformers saves a model: config.json, safetensors, whole or in shards, and its tokenizer's files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from clearformer.data.imported import ROLES, ImportedTokenizer
from clearformer.data.sides import SPM_FILES
from clearformer.data.tokenizers import read_backend
from clearformer.errors import InteropError
from clearformer.interop.sides import read_vocabulary

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")
MAX_SPARE = 1024
"""rows of an embedding that are no token's: models have some, to make their number a multiple of a power of two"""
OTHER_ROLES = {"bos_token": "cls_token", "eos_token": "sep_token"}
"""in place of those, where a tokenizer has none: BERT's"""


@dataclass(frozen=True)
class ForeignFolder:
    """A folder that was found to be one, with what its config.json says."""

    path: Path
    values: dict[str, Any]
    files: Mapping[str, Path]
    """the file of each tensor"""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor. Raises InteropError if a file is damaged."""
        found: dict[str, tuple[int, ...]] = {}
        for file in sorted(set(self.files.values())):
            with _opened(file) as tensors:
                found |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        return found

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor in float32, which holds float16 and bfloat16 exactly. Raises InteropError for integers."""
        with _opened(self.files[name]) as tensors:
            tensor = tensors.get_tensor(name)
        if not tensor.is_floating_point() or tensor.element_size() not in (2, 4):
            raise InteropError(
                f"float32, float16 or bfloat16 was expected in {self.files[name]}, found {tensor.dtype} in {name}; "
                "save the model in one of those"
            )
        return tensor.float().numpy()

    def has_numbers(self, name: str) -> bool:
        """Whether it has a tensor of that name which is not all zeros."""
        return name in self.files and bool(self.read(name).any())

    @property
    def has_sides(self) -> bool:
        """Whether its tokenizer is two files of SentencePiece's, as Marian's."""
        there = {file.name for file in self.path.glob("*.spm")}
        return bool(there & {*SPM_FILES}) and not (self.path / "tokenizer.json").exists()

    def tokenizer(self, rows: int) -> ImportedTokenizer:
        """The tokenizer of a model whose vocabulary has so many rows. Raises InteropError for another size."""
        path = self.path / "tokenizer.json"
        if self.has_sides:
            config = self.path / "tokenizer_config.json"
            settings = _json(config) if config.exists() else {}
            return read_vocabulary(self.path, settings, _special_names(self.path), rows)
        if not path.exists():
            raise InteropError(
                f"tokenizer.json was expected in {self.path}, found none; write it with transformers: "
                "AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
        backend = read_backend(path)
        names = _special_names(self.path)
        if unknown := getattr(backend.model, "unk_token", None):
            names.setdefault("unk_token", unknown)
        tokenizer = ImportedTokenizer(backend, names, rows)
        if not rows - MAX_SPARE <= tokenizer.num_ids <= rows:
            raise InteropError(
                f"a vocabulary of {rows:,} tokens was expected in {path}, as the weights have, found "
                f"{tokenizer.num_ids:,}; use the tokenizer that belongs to the model"
            )
        return tokenizer


def open_foreign(path: Path) -> ForeignFolder:
    """Look into a folder. Raises InteropError, saying what is missing, if there is no model to import in it."""
    if not path.is_dir():
        raise InteropError(f"the folder of a model was expected, but {path} is none; name one with a config.json")
    values = _json(path / "config.json")
    if (path / INDEX).exists():
        named = _json(path / INDEX).get("weight_map")
        if not isinstance(named, dict) or not all(_is_plain(file) for file in named.values()):
            raise InteropError(f"names of files of this folder were expected in {path / INDEX}; download it again")
        return ForeignFolder(path, values, {name: path / file for name, file in named.items()})
    if (path / WEIGHTS).exists():
        with _opened(path / WEIGHTS) as tensors:
            return ForeignFolder(path, values, dict.fromkeys(tensors.keys(), path / WEIGHTS))
    pickles = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    found = f"found {pickles[0]}, and unpickling can run any code" if pickles else "found none"
    raise InteropError(
        f"weights as {WEIGHTS} were expected in {path}, {found}; write them with transformers: "
        "AutoModel.from_pretrained(...).save_pretrained(...)"
    )


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise InteropError(f"whole tensors were expected in {file}, but: {error}; download it again") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InteropError(f"an object of JSON was expected in {path}, but: {error}; name a model's folder") from error
    if not isinstance(found, dict):
        raise InteropError(f"an object of JSON was expected in {path}, found none; download it again")
    return found


def _is_plain(name: Any) -> bool:
    """Whether it is a file's name, and no path that leads out of the folder."""
    return isinstance(name, str) and Path(name).name == name


def _special_names(folder: Path) -> dict[str, str]:
    """The texts of the special tokens by their roles, as far as they are known."""
    found: dict[str, Any] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).exists():
            found |= _json(folder / file)
    texts = {role: each.get("content") if isinstance(each, dict) else each for role, each in found.items()}
    for role, other in OTHER_ROLES.items():
        texts[role] = texts.get(role) or texts.get(other)
    return {role: text for role in ROLES if isinstance(text := texts.get(role), str)}
