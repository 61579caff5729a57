"""nanoGPT at tinyshakespeare: its model, and its training for a CPU by its documentation, which is 4 layers, width 128,
context 64, batch 12, and 2,000 steps of AdamW with a cosine schedule."""

import math
from typing import TYPE_CHECKING, Any

import torch
from peers import nanogpt

from clearformer.data.batches import Batches, TextWindows
from clearformer.runs.folder import RunFolder

if TYPE_CHECKING:
    from in_time import Curve

CONTEXT, BATCH, STEPS, WARMUP, POINTS = 64, 12, 2000, 100, 20
PEAK, LEAST = 1e-3, 1e-4


def run(run: RunFolder, curve: "Curve", _: float) -> dict[str, Any]:
    module, train, validation = nanogpt(), run.batches("train"), run.batches("validation")
    assert isinstance(train, TextWindows)
    tokens = torch.from_numpy(train.tokens.astype("int64"))
    torch.manual_seed(1337)
    sizes = {"block_size": CONTEXT, "vocab_size": run.config.model.vocab_size, "n_layer": 4, "n_head": 4, "n_embd": 128}
    model = module.GPT(module.GPTConfig(**sizes, dropout=0.0, bias=False))
    optimizer = model.configure_optimizers(0.1, PEAK, (0.9, 0.99), "cpu")
    curve.started()
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = rate(step - 1)
        starts = torch.randint(len(tokens) - CONTEXT, (BATCH,))
        rows = torch.stack([tokens[first : first + CONTEXT + 1] for first in starts.tolist()])
        _, loss = model(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % (STEPS // POINTS) == 0:
            with curve.paused():
                curve.add(step, validation_loss(model, validation))
    return {"curve": curve.points, "steps": STEPS, "parameters": sum(each.numel() for each in model.parameters())}


def rate(step: int) -> float:
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    return LEAST + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) * (PEAK - LEAST)


@torch.no_grad()
def validation_loss(model: Any, batches: Batches) -> float:
    """Nats a token of the whole split."""
    model.eval()
    total = count = 0.0
    for batch in batches.in_order():
        tokens, targets = torch.from_numpy(batch.inputs[0]), torch.from_numpy(batch.targets)
        total += model(tokens, targets)[1].item() * targets.numel()
        count += targets.numel()
    model.train()
    return total / count
