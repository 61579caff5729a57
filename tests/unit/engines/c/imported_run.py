"""Runs with imported tokenizers and random weights."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
from foreign import KINDS, imported

from clearformer.config import AnyModelConfig, BERTConfig, Config, GPTConfig, TransformerConfig
from clearformer.data.imported import ROLES, ImportedTokenizer
from clearformer.data.sides import SPM_FILES, SidedTokenizer
from clearformer.interop.numbering import in_our_order
from clearformer.interop.sentence_pieces import Pieces, side_of
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint

FAMILIES: dict[str, type[AnyModelConfig]] = {
    "GPT-2": GPTConfig, "Qwen2": GPTConfig, "Llama": GPTConfig, "BERT": BERTConfig, "RoBERTa": BERTConfig,
    "Marian": TransformerConfig, "Helsinki": TransformerConfig, "T5": TransformerConfig,
}  # fmt: skip
"""of the kinds of which a run is made"""
SOURCE = ("▁", "▁the", "▁The", "▁dog", "▁fox", "▁lazy", "▁lost", "ox", *"acdefghklnopstxyzDT',")
TARGET = ("▁", "▁der", "▁Hund", "ä", "日", "本", "日本", "dog", "lost", *"acdefghiklnopsuxD',")
"""pieces of a translator's sides, of which ▁lost and lost are no tokens"""
SETTINGS: dict[str, dict[str, Any]] = {
    "Llama": {"positions": "rotary", "head_width": 6}, "Marian": {"head_width": 6}, "Helsinki": {"output_bias": True},
}  # fmt: skip
"""what these have besides sizes"""
SPREAD = 0.3
"""of the weights, so that no part is without effect"""


@functools.cache
def sides() -> SidedTokenizer:
    """The tokenizer of a translator as Helsinki's, without a table of replacements."""
    pieces = [Pieces({text: -1 - number / 64 for number, text in enumerate(side)}, b"") for side in (SOURCE, TARGET)]
    special = ["<pad>", "<bos>", "</s>", "<unk>"]
    tokens = [*special, ">>deu<<", *sorted({*SOURCE, *TARGET} - {"▁lost", "lost"})]
    both = [side_of(side, tokens, special, special.index("<unk>")) for side in pieces]
    names = dict(zip(ROLES, special, strict=False))
    return SidedTokenizer.of_both(both[0], both[1], names, len(tokens), dict.fromkeys(SPM_FILES, b""))


def write_imported_run(folder: Path, kind: str) -> Path:
    """A run as `clearformer import` writes it, of a small model, whose tokenizer is one of this kind."""
    tokenizer = sides() if kind == "Helsinki" else imported(kind)
    if kind == "Marian":
        pad, eos = tokenizer.special.pad, tokenizer.special.eos
        tokens = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": eos}
        tokenizer, _ = in_our_order(ImportedTokenizer(KINDS[kind][0](), KINDS[kind][1], 0), tokens)
    model = FAMILIES[kind](
        vocab_size=tokenizer.vocab_size,
        **{"context": 48, "d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 32, "dropout": 0.0},
        **SETTINGS.get(kind, {}),
    )
    folder.mkdir(parents=True)
    tokenizer.save(folder / "tokenizer.json")
    config = dataclasses.replace(Config(dataset="imported", model=model), tokenizer="imported")
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    data = {"name": "imported", "kind": "text", "sizes": {"train": 3}}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    rng = np.random.default_rng(1)
    initial = initial_weights(model, 1).items()
    weights = {name: (x + rng.normal(0, SPREAD, x.shape)).astype(np.float32) for name, x in initial}
    save_checkpoint(folder / "checkpoints", Checkpoint(3, {"model": weights}), keep=1)
    return folder
