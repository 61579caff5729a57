"""Runs with imported tokenizers and random weights."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from foreign import KINDS, imported

from clearformer.config import AnyModelConfig, BERTConfig, Config, GPTConfig, TransformerConfig
from clearformer.data.imported import ImportedTokenizer
from clearformer.interop.numbering import in_our_order
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint

FAMILIES: dict[str, type[AnyModelConfig]] = {
    "GPT-2": GPTConfig, "Llama": GPTConfig, "BERT": BERTConfig, "RoBERTa": BERTConfig, "Marian": TransformerConfig,
}  # fmt: skip
"""of the kinds of which a run is made"""
SETTINGS: dict[str, dict[str, Any]] = {"Llama": {"positions": "rotary", "head_width": 6}, "Marian": {"head_width": 6}}
"""what these have besides sizes"""
SPREAD = 0.3
"""of the weights, so that no part is without effect"""


def write_imported_run(folder: Path, kind: str) -> Path:
    """A run as `clearformer import` writes it, of a small model, whose tokenizer is one of this kind."""
    tokenizer = imported(kind)
    if FAMILIES[kind] is TransformerConfig:
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
