"""JoeyNMT: its encoder-decoder and its beam search. One embedding serves both sides and the output."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import work
from systems.hugging_face import step
from work import Work

if TYPE_CHECKING:
    from clearformer.config import TransformerConfig

UNK, PAD, BOS, EOS = range(4)
"""JoeyNMT's ids"""
SPECIAL = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "sep_token": None}
SPECIAL_IDS: dict[str, Any] = {
    "unk_id": UNK,
    "pad_id": PAD,
    "bos_id": BOS,
    "eos_id": EOS,
    "sep_id": None,
    "lang_tags": [],
}


def stack(config: TransformerConfig) -> dict[str, Any]:
    """The settings of its encoder, and of its decoder."""
    return {
        "type": "transformer",
        "num_layers": config.num_layers,
        "num_heads": config.num_heads,
        "hidden_size": config.d_model,
        "ff_size": config.d_ff,
        "dropout": config.dropout,
        "embeddings": {"embedding_dim": config.d_model, "scale": True, "dropout": config.dropout},
    }


def encoder_decoder(config: TransformerConfig) -> Any:
    from joeynmt.model import build_model
    from joeynmt.vocabulary import Vocabulary

    torch.manual_seed(1)
    tokens = [f"t{index}" for index in range(4, config.vocab_size)]
    words = Vocabulary(tokens, SimpleNamespace(**SPECIAL, **SPECIAL_IDS))
    settings = {"tied_embeddings": True, "tied_softmax": True, "encoder": stack(config), "decoder": stack(config)}
    model = build_model(settings, words, words)
    model.loss_function = ("crossentropy", 0.0)
    return model


def batch(sources: list[list[int]], targets: list[list[int]] | None) -> Any:
    from joeynmt.batch import Batch

    return Batch(
        src=padded([[*row, EOS] for row in sources]),
        src_length=torch.tensor([len(row) + 1 for row in sources]),
        src_prompt_mask=None,
        trg=None if targets is None else padded([[BOS, *row, EOS] for row in targets]),
        trg_prompt_mask=None,
        indices=torch.arange(len(sources)),
        device=torch.device("cpu"),
        pad_index=PAD,
        eos_index=EOS,
    )


def padded(rows: list[list[int]]) -> torch.Tensor:
    """Token ids [B, T]."""
    found = np.full((len(rows), max(map(len, rows))), PAD)
    for index, row in enumerate(rows):
        found[index, : len(row)] = row
    return torch.from_numpy(found)


def training_pairs(size: str, precision: str) -> Work:
    sources, targets = work.sentences(1), work.sentences(2)
    model, pairs = encoder_decoder(work.PAIRS[size]), batch(sources, targets)

    def loss() -> Any:
        return model(return_type="loss", **vars(pairs))[0] / pairs.ntokens

    return step(model, loss, sum(map(len, sources)) + sum(map(len, targets)), precision)


def translation(size: str) -> Work:
    """The end of a sentence is forbidden, since random weights hardly ever write it."""
    from joeynmt.search import search

    model, length = encoder_decoder(work.PAIRS[size]).eval(), work.TRANSLATED + 1
    rows = batch(work.sources().tolist(), None)

    def run() -> int:
        found, _, _ = search(model, rows, length, work.BEAM, 1.0, min_output_length=length)
        return int(found.size)

    return Work(run, work.SENTENCES, sum(weight.numel() for weight in model.parameters()), {"tokens out": run()})
