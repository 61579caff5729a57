"""nanoGPT, from a folder that the environment variable NANOGPT names: its model, trained as its script does."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import torch
import work
from systems.hugging_face import step
from work import Work


def training(size: str, precision: str, device: str = "cpu") -> Work:
    path = Path(os.environ["NANOGPT"]) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    config, tokens = work.GPTS[size], torch.from_numpy(work.windows(size)).to(device)
    torch.manual_seed(1)
    sizes = {"block_size": config.context, "vocab_size": config.vocab_size, "n_layer": config.num_layers}
    sizes |= {"n_head": config.num_heads, "n_embd": config.d_model}
    model = module.GPT(module.GPTConfig(**sizes, dropout=0.0, bias=config.bias)).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return step(model, lambda: model(inputs, labels)[1], labels.numel(), precision)
