"""Refuse sizes that need more memory than the machine has, before anything is allocated."""

import os
import sys

from clearformer.config import Config
from clearformer.errors import ConfigError, shortened


def require_memory(config: Config) -> None:
    """Raise ConfigError if the weights alone, or the token ids of a batch, need more memory than the machine has.

    Raises it also for an integer beyond 64 bits, which no tensor can hold.
    """
    for part in (config.model, config.train):
        for name, value in vars(part).items():
            if isinstance(value, int) and value > sys.maxsize:
                raise ConfigError(f"{name} must be at most {sys.maxsize}, found {shortened(value)}; lower it")
    model, memory = config.model, _memory_bytes()
    required = {
        "num_layers": 8 * model.num_layers * model.d_model * (model.num_heads * model.key_width + model.d_ff),
        "vocab_size": 4 * model.vocab_size * model.d_model,
        "context": 8 * model.context,
        "ngram_buckets": 4 * model.ngram_buckets * model.d_model,
        "batch_tokens": 8 * config.train.batch_tokens,
    }
    name, largest = max(required.items(), key=lambda item: item[1])
    if largest > memory:
        owner = config.train if name == "batch_tokens" else model
        heads = ("num_heads", "head_width") * (model.head_width is not None)
        sizes = {"num_layers": ("num_layers", "d_model", *heads, "d_ff"), "batch_tokens": (name,), "context": (name,)}
        named = ", ".join(f"{size} {getattr(owner, size)}" for size in sizes.get(name, (name, "d_model")))
        raise ConfigError(
            f"sizes that fit into {memory / 1e9:,.0f} GB of memory were expected, found {named}, which take "
            f"at least {largest // 10**9:,} GB; lower them"
        )


def _memory_bytes() -> int:
    """The machine's memory in bytes; 2^50 if the system does not tell."""
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 50
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
