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
from clearformer.training.loop import accumulate_gradients
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
        norm_order=config.norm_order,
        tied=None if isinstance(model, Classifier) else config.tie_embeddings,
        name=type(model).__name__,
        **functions,
    )


def real_of(tokens: Tensor) -> Tensor:
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
        head_width=config.head_width,
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
            MaskedBatch(tokens.numpy(), real_of(tokens).numpy(), torch.zeros_like(tokens).numpy(), labels.numpy())
            for tokens, labels in batches
        ],
    )


def accumulate(model: GPT | BERT, batches: list[Any]) -> None:
    accumulate_gradients(model, batches, TrainConfig(precision="float32"), torch.device("cpu"))


def step_transformer(
    model: Transformer, source: Tensor, tokens: Tensor, cache: tuple[Tensor, KVCache] | None
) -> tuple[Tensor, tuple[Tensor, KVCache]]:
    memory, past = cache or (model.encode(source, real_of(source)), empty_cache(model, len(tokens)))
    features = model.decode(tokens, memory, real_of(source), cache=past)
    return model.output_projection(features), (memory, past)


def loss_transformer(model: Transformer, source: Tensor, labels: Tensor) -> Tensor:
    before = labels.masked_fill(labels == IGNORE, PAD).roll(1, dims=1)
    before[:, 0] = BOS
    return mean_loss(model(source, before, real_of(source), real_of(before)), labels)


def whole(model: BERT | Classifier, tokens: Tensor) -> Tensor:
    """Logits of texts without padding."""
    return padded(model, tokens, real_of(tokens))


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
        "call": lambda model, source, tokens: model(source, tokens, real_of(source), real_of(tokens)),
        "padded": lambda model, source, tokens, source_real, real: model(source, tokens, source_real, real),
        "step": step_transformer,
        "loss": loss_transformer,
        "start": BOS,
        "reserved": RESERVED,
    },
    BERT: {
        "kind": "bidirectional",
        "call": whole,
        "padded": padded,
        "loss": lambda model, tokens, labels: mean_loss(whole(model, tokens), labels),
        "accumulate": accumulate_bert,
        "reserved": (*RESERVED, MASK),
    },
    Classifier: {"kind": "classifier", "call": whole, "padded": padded, "reserved": RESERVED},
}
