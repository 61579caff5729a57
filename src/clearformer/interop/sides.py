"""A translator's vocabulary as the translators of Helsinki have it: source.spm, target.spm, and one vocab.json.

vocab.json numbers the pieces of both. In a run, each side is a tokenizer of its own: `clearformer.data.sides`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import models

from clearformer.data.imported import ImportedTokenizer
from clearformer.data.sides import SPM_FILES, SidedTokenizer
from clearformer.errors import InteropError
from clearformer.interop.sentence_pieces import read_pieces, side_of

USUAL = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
"""the names of special tokens that a folder need not say"""
REFUSED = ("separate_vocabs", "sp_model_kwargs", "additional_special_tokens", "extra_special_tokens")
"""keys of tokenizer_config.json with which a text would have other ids"""


def read_vocabulary(
    folder: Path, settings: Mapping[str, Any], names: Mapping[str, str], rows: int
) -> ImportedTokenizer:
    """The tokens and ids of vocab.json, of a model with so many rows; `settings` are of tokenizer_config.json.

    Raises InteropError for another size, a file that is missing, and what our tokenizers do not do.
    """
    for file in (*SPM_FILES, "vocab.json"):
        if not (folder / file).exists():
            raise InteropError(f"{', '.join(SPM_FILES)} and vocab.json were expected in {folder}, found no {file}; "
                               "download the whole folder again")  # fmt: skip
    for key in REFUSED:
        if settings.get(key):
            raise InteropError(
                f"no {key} was expected in tokenizer_config.json, found {settings[key]!r}; no tokenizer of clearformer "
                "has that"
            )
    path = folder / "vocab.json"
    ids = _ids(path)
    if len(ids) != rows:
        raise InteropError(
            f"a vocabulary of {rows:,} tokens was expected in {path}, as the weights have, found {len(ids):,}; use the "
            "vocab.json that belongs to the model"
        )
    special = {role: names.get(role, usual) for role, usual in USUAL.items()}
    if lacking := [name for name in special.values() if name not in ids]:
        raise InteropError(
            f"the special token {lacking[0]!r} was expected in {path}, but is not there; use the vocab.json that "
            "belongs to the model"
        )
    backend = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=special["unk_token"]))
    backend.add_special_tokens([*special.values()])
    return ImportedTokenizer(backend, special, rows)


def with_sides(vocabulary: ImportedTokenizer, folder: Path) -> SidedTokenizer:
    """The tokenizer whose ids are those of `vocabulary`, and whose sides are the files of `folder`."""
    numbered = [str(vocabulary.backend.id_to_token(index)) for index in range(vocabulary.rows)]
    special, unknown = [*vocabulary.names.values()], vocabulary.special.unk
    assert unknown is not None
    source, target = (side_of(read_pieces(folder / file), numbered, special, unknown) for file in SPM_FILES)
    files = {file: (folder / file).read_bytes() for file in SPM_FILES}
    return SidedTokenizer.of_both(source, target, vocabulary.names, vocabulary.rows, files)


def write_sides(tokenizer: SidedTokenizer, folder: Path) -> None:
    """Write the files from which the tokenizer was made, with our numbers."""
    ids = {tokenizer.text_of(index): index for index in range(tokenizer.rows)}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    for file, content in tokenizer.files.items():
        (folder / file).write_bytes(content)


def _ids(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InteropError(f"tokens and their ids were expected in {path}, but: {error}; download it again") from error
    if not isinstance(found, dict) or sorted(map(repr, found.values())) != sorted(map(repr, range(len(found)))):
        raise InteropError(f"tokens with ids from 0 on were expected in {path}, found others; download it again")
    return found
