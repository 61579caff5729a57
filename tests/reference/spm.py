"""Small files of SentencePiece's, written by hand, and folders as the translators of Helsinki are published in."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from folders import MARIAN_SIZES, STD, TEXT, edited_config, random_marian

CONTROL, USER_DEFINED, UNUSED = 3, 4, 5
"""types of pieces"""
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund, und der Hund schläft weiter. Ähem."
LANGUAGES = [">>deu<<", ">>fra<<"]
UNUSED_KEYS = {"add_bias_logits": False, "normalize_before": False, "static_position_embeddings": True, "num_beams": 6}
"""of their config.json, which say nothing of the model to transformers"""
LACKING = ("▁sleeps", "▁weiter.")
"""pieces that vocab.json lacks"""


def field(number: int, value: float | bytes | str) -> bytes:
    """A value of a protocol buffer, with its number: a whole number, a float, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have an eighth."""
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def pieces_of(text: str) -> dict[str, float]:
    """All words of a text and all its characters, with scores that are different, and exact in float32."""
    words = {f"▁{word}" for word in text.split()}
    found = [*sorted(words), *sorted({*text.replace(" ", "▁")} - words)]
    return {piece: -(1024 // len(piece)) / 1024 - number / 128 for number, piece in enumerate(found)}


def spm(scores: Mapping[str, float], *more: bytes, types: Mapping[str, int] | None = None) -> bytes:
    """A file of unigrams; `more` are further fields, `types` those of pieces that are not normal."""
    special = [field(1, field(1, "<unk>") + field(3, 2)), field(1, field(1, "</s>") + field(3, CONTROL))]
    kinds = types or {}
    rest = [
        field(1, field(1, piece) + field(2, score) + (field(3, kinds[piece]) if piece in kinds else b""))
        for piece, score in scores.items()
    ]
    return b"".join([*special, *rest, field(2, field(3, 1)), *more])


def vocabulary() -> dict[str, int]:
    pieces = sorted({*pieces_of(TEXT), *pieces_of(GERMAN)} - {*LACKING})
    return {piece: index for index, piece in enumerate(["</s>", "<unk>", *pieces, *LANGUAGES, "<pad>"])}


def helsinki(folder: Path, **changes: Any) -> Any:
    """Save a tiny model with random weights, a bias of its logits, and its two tokenizers; return the model."""
    ids = vocabulary()
    pad = ids["<pad>"]
    special = {"pad_token_id": pad, "decoder_start_token_id": pad, "eos_token_id": 0, "forced_eos_token_id": None}
    model = random_marian(
        **MARIAN_SIZES | special | {"vocab_size": len(ids), "activation_function": "swish", "seed": 5} | changes
    )
    model.final_logits_bias.copy_(torch.randn(1, len(ids)) * STD)
    model.save_pretrained(folder)
    edited_config(**UNUSED_KEYS)(folder)
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    (folder / "source.spm").write_bytes(spm(pieces_of(TEXT)))
    (folder / "target.spm").write_bytes(spm(pieces_of(GERMAN)))
    settings = {"source_lang": "eng", "target_lang": "deu", "tokenizer_class": "MarianTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    return model
