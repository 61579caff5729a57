"""github.com/rasbt/LLMs-from-scratch: the book's GPT-2 and Qwen3, without and with a cache."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path.cwd() / "pkg"))
GPT2 = {
    **{"vocab_size": 67, "context_length": 32, "emb_dim": 32, "n_heads": 4, "n_layers": 2},
    **{"drop_rate": 0.1, "qkv_bias": False},
}
QWEN3 = {
    **{"vocab_size": 67, "context_length": 32, "emb_dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 64},
    **{"head_dim": 8, "qk_norm": True, "n_kv_groups": 2, "rope_base": 10_000.0, "dtype": torch.float32},
}


def _build(module: str, name: str, settings: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return getattr(importlib.import_module(f"llms_from_scratch.{module}"), name)(settings)


def gpt2() -> nn.Module:
    return _build("ch04", "GPTModel", GPT2)


def gpt2_with_cache() -> nn.Module:
    """Its cache is an object that the caller makes, so that steps with it are not checked."""
    return _build("kv_cache.gpt2", "GPTModel", GPT2)


def qwen3() -> nn.Module:
    return _build("qwen3", "Qwen3Model", QWEN3)


def qwen3_with_cache() -> nn.Module:
    """As with GPT-2."""
    return _build("kv_cache.qwen3", "Qwen3Model", QWEN3)
