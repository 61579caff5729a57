"""transformers: GPT-2 and Marian, with PyTorch's fused attention, their default."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
import work
from torch import nn
from work import Work

from clearformer.config import GPTConfig, TransformerConfig

IGNORE = -100


def training(size: str, precision: str, device: str = "cpu") -> Work:
    tokens = torch.from_numpy(work.windows(size)).to(device)
    model = gpt2(work.GPTS[size]).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def loss() -> Any:
        logits = model(inputs).logits
        return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    return step(model, loss, labels.numel(), precision)


def step(model: nn.Module, loss: Callable[[], Any], units: int, precision: str) -> Work:
    """Forward, backward, clipping and AdamW as people write them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    model.train()
    device = next(model.parameters()).device.type

    def run() -> float:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            value = loss()
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return value.item()

    return Work(run, units, sum(weight.numel() for weight in model.parameters()), {"loss": round(run(), 2)})


def gpt2(config: GPTConfig) -> Any:
    torch.manual_seed(1)
    dropouts: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context,
            n_embd=config.d_model,
            n_layer=config.num_layers,
            n_head=config.num_heads,
            bos_token_id=None,
            eos_token_id=None,
            **dropouts,
        )
    ).eval()


def generation(size: str, batch: int, device: str = "cpu") -> Work:
    """On a GPU in bfloat16, as ours."""
    model, tokens = gpt2(work.GPTS[size]).to(device), torch.from_numpy(work.prompts(size, batch)).to(device)
    settings = {"do_sample": False, "min_new_tokens": work.NEW, "max_new_tokens": work.NEW, "pad_token_id": 0}

    def run() -> int:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            found = model.generate(tokens, attention_mask=torch.ones_like(tokens), **settings)
        return int(found[:, work.PROMPT :].numel())

    return Work(run, batch * work.NEW, sum(weight.numel() for weight in model.parameters()), {"tokens out": run()})


def translation(size: str) -> Work:
    """Marian's beam search; the end of a sentence is forbidden, since random weights hardly ever write it."""
    model, sources = marian(work.PAIRS[size]), torch.from_numpy(work.sources())
    length = work.TRANSLATED + 1
    settings = {"do_sample": False, "num_beams": work.BEAM, "min_new_tokens": length, "max_new_tokens": length}

    def run() -> int:
        found = model.generate(sources, attention_mask=torch.ones_like(sources), **settings)
        return int(found[:, 1:].numel())

    count = sum(weight.numel() for weight in model.parameters())
    return Work(run, work.SENTENCES, count, {"tokens out": run()})


def marian(config: TransformerConfig) -> Any:
    torch.manual_seed(1)
    sizes: dict[str, Any] = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", config.num_layers),
            ("attention_heads", config.num_heads),
            ("ffn_dim", config.d_ff),
        )
    }
    return transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            max_position_embeddings=config.context,
            dropout=0.0,
            activation_function="relu",
            pad_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=0,
            forced_eos_token_id=None,
            **sizes,
        )
    ).eval()
