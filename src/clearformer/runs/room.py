"""Refuses sizes that need more memory than the machine has, before anything is made: a slip of a digit, mostly."""

import os
import sys

from clearformer.config import Config
from clearformer.errors import ConfigError, shortened


def require_room(config: Config) -> None:
    """Raise ConfigError if the weights alone, or the ids of one batch, need more memory than the machine has.

    Raises it too for an integer beyond 64 bits, with which no tensor can be compared.
    """
    for part in (config.model, config.train):
        for name, value in vars(part).items():
            if isinstance(value, int) and value > sys.maxsize:
                raise ConfigError(f"{name} must be at most {sys.maxsize}, found {shortened(value)}; lower it")
    model, memory = config.model, _memory()
    needs = {
        "num_layers": 8 * model.num_layers * model.d_model * (model.d_model + model.d_ff),
        "vocab_size": 4 * model.vocab_size * model.d_model,
        "context": 8 * model.context,
        "ngram_buckets": 4 * model.ngram_buckets * model.d_model,
        "batch_tokens": 8 * config.train.batch_tokens,
    }
    name, most = max(needs.items(), key=lambda need: need[1])
    if most > memory:
        owner = config.train if name == "batch_tokens" else model
        sizes = {"num_layers": ("num_layers", "d_model", "d_ff"), "batch_tokens": (name,), "context": (name,)}
        named = ", ".join(f"{size} {getattr(owner, size)}" for size in sizes.get(name, (name, "d_model")))
        raise ConfigError(
            f"sizes that fit into {memory / 1e9:,.0f} GB of memory were expected, found {named}, which take "
            f"at least {most // 10**9:,} GB; lower them"
        )


def _memory() -> int:
    """Bytes of memory in the machine; where the system does not say, more than any machine has."""
    if not hasattr(os, "sysconf"):  # Windows
        return 1 << 50
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
