"""This project's own models."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from clearformer.blocks.cache import KVCache
from clearformer.checks.subject import Kind, Subject
from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE, TextBatch
from clearformer.data.masked import MaskedBatch
from clearformer.data.tokenizers import BOS, EOS, MASK, PAD
from clearformer.models.bert import BERT
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT
from clearformer.models.transformer import Transformer
from clearformer.training.loop import Objective, accumulate_gradients
from clearformer.training.loss import summed_loss


def recognise(model: Any, _kind: Kind | None) -> Subject | None:
    functions = next((functions for family, functions in FAMILIES.items() if isinstance(model, family)), None)
    if functions is None:
        return None
    config = model.config
    return Subject(
        model,
        vocab_size=config.vocab_size,
        context=config.context,
        pad=PAD,
        norm_order=None if config.norm == "none" else config.norm_order,
        tied=None if isinstance(model, Classifier) else config.tie_embeddings,
        unused=() if getattr(config, "segments", 1) else ("segments",),
        name=type(model).__name__,
        **functions,
    )


def all_real(tokens: Tensor) -> Tensor:
    return torch.ones_like(tokens, dtype=torch.bool)


def mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return summed_loss(logits, targets) / (targets != IGNORE).sum()


def empty_cache(model: GPT | Transformer, rows: int) -> KVCache:
    config = model.config
    return KVCache(
        num_layers=config.num_layers,
        batch_size=rows,
        num_heads=config.kv_heads,
        max_length=config.context,
        head_width=config.key_width,
        like=model.embedding.weight.detach(),
    )


def step_gpt(model: GPT, tokens: Tensor, cache: KVCache | None) -> tuple[Tensor, KVCache]:
    cache = cache or empty_cache(model, len(tokens))
    return model(tokens, cache), cache


def prefill_gpt(model: GPT, tokens: Tensor, real: Tensor) -> tuple[Tensor, KVCache]:
    logits, cache = step_gpt(model, tokens, None)
    cache.set_lengths(real.sum(-1).tolist())
    return logits, cache


def accumulate_gpt(model: GPT, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    accumulate(model, [TextBatch(tokens[:, :-1].numpy(), labels[:, 1:].numpy()) for tokens, labels in batches])


def accumulate_bert(model: BERT, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
    accumulate(
        model,
        [
            MaskedBatch(tokens.numpy(), all_real(tokens).numpy(), torch.zeros_like(tokens).numpy(), labels.numpy())
            for tokens, labels in batches
        ],
    )


def accumulate(model: GPT | BERT, batches: list[Any]) -> None:
    accumulate_gradients(Objective(model, TrainConfig(precision="float32")), batches)


def step_transformer(
    model: Transformer, source: Tensor, tokens: Tensor, cache: tuple[Tensor, KVCache] | None
) -> tuple[Tensor, tuple[Tensor, KVCache]]:
    memory, past = cache or (model.encode(source, all_real(source)), empty_cache(model, len(tokens)))
    features = model.decode(tokens, memory, all_real(source), cache=past)
    return model.output_projection(features), (memory, past)


def loss_transformer(model: Transformer, source: Tensor, labels: Tensor) -> Tensor:
    decoder_tokens = labels.masked_fill(labels == IGNORE, PAD).roll(1, dims=1)
    decoder_tokens[:, 0] = BOS
    return mean_loss(model(source, decoder_tokens, all_real(source), all_real(decoder_tokens)), labels)


def without_padding(model: BERT | Classifier, tokens: Tensor) -> Tensor:
    return padded(model, tokens, all_real(tokens))


def padded(model: BERT | Classifier, tokens: Tensor, real: Tensor) -> Tensor:
    return model(tokens, real, torch.zeros_like(tokens))


RESERVED = (PAD, BOS, EOS)
FAMILIES: dict[type[Model], dict[str, Any]] = {
    GPT: {
        "call": lambda model, tokens: model(tokens),
        "padded": lambda model, tokens, _real: model(tokens),
        "step": step_gpt,
        "prefill": prefill_gpt,
        "loss": lambda model, tokens, labels: mean_loss(model(tokens[:, :-1]), labels[:, 1:]),
        "accumulate": accumulate_gpt,
    },
    Transformer: {
        "kind": "encoder-decoder",
        "call": lambda model, source, tokens: model(source, tokens, all_real(source), all_real(tokens)),
        "padded": lambda model, source, tokens, source_real, real: model(source, tokens, source_real, real),
        "step": step_transformer,
        "loss": loss_transformer,
        "start": BOS,
        "reserved": RESERVED,
    },
    BERT: {
        "kind": "bidirectional",
        "call": without_padding,
        "padded": padded,
        "loss": lambda model, tokens, labels: mean_loss(without_padding(model, tokens), labels),
        "accumulate": accumulate_bert,
        "reserved": (*RESERVED, MASK),
    },
    Classifier: {"kind": "classifier", "call": without_padding, "padded": padded, "reserved": RESERVED},
}
