"""x-transformers: its decoder with fused attention and learned positions, the output tied to the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
import work
from systems.hugging_face import step
from work import Work

if TYPE_CHECKING:
    from clearformer.config import GPTConfig


def gpt(config: GPTConfig) -> Any:
    from x_transformers import Decoder, TransformerWrapper

    torch.manual_seed(1)
    layers = Decoder(
        dim=config.d_model,
        depth=config.num_layers,
        heads=config.num_heads,
        attn_dim_head=config.d_model // config.num_heads,
        attn_flash=True,
    )
    return TransformerWrapper(
        num_tokens=config.vocab_size, max_seq_len=config.context, attn_layers=layers, tie_embedding=True
    )


def training(size: str, precision: str) -> Work:
    tokens = torch.from_numpy(work.windows(size))
    model, inputs, labels = gpt(work.GPTS[size]), tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return step(
        model, lambda: F.cross_entropy(model(inputs).float().flatten(0, 1), labels.flatten()), labels.numel(), precision
    )


def generation(size: str, batch: int) -> Work:
    from x_transformers import AutoregressiveWrapper

    model = AutoregressiveWrapper(gpt(work.GPTS[size])).eval()
    prompts = torch.from_numpy(work.prompts(size, batch))

    def run() -> int:
        with torch.no_grad():
            return int(model.generate(prompts, work.NEW, temperature=0.0, cache_kv=True).numel())

    return Work(run, batch * work.NEW, sum(weight.numel() for weight in model.parameters()), {"tokens out": run()})
