"""nanoGPT: its model, trained as its script does."""

import torch
import work
from peers import nanogpt
from systems.hugging_face import step
from work import Work


def training(size: str, precision: str, device: str = "cpu") -> Work:
    config, tokens = work.GPTS[size], torch.from_numpy(work.windows(size)).to(device)
    torch.manual_seed(1)
    sizes = {"block_size": config.context, "vocab_size": config.vocab_size, "n_layer": config.num_layers}
    sizes |= {"n_head": config.num_heads, "n_embd": config.d_model}
    module = nanogpt()
    model = module.GPT(module.GPTConfig(**sizes, dropout=0.0, bias=config.bias)).to(device)
    inputs, labels = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    return step(model, lambda: model(inputs, labels)[1], labels.numel(), precision)
