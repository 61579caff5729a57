"""A training step of our GPT compared with the same model built of torch.nn.TransformerEncoderLayer.

Both run in one process and take turns, so that a noisy machine slows both; the result is the ratio of each pair.
Forward, backward, clipping and AdamW at nanoGPT's CPU size: 4 layers, width 128, context 64, batch 12, float32.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.config import GPTConfig, TrainConfig
from clearformer.models.build import build
from clearformer.training.loop import clip_gradients
from clearformer.training.optimizer import make_optimizer

PAIRS, WARM_UP = 60, 10
BATCH = 12
CONFIG = GPTConfig(vocab_size=69, context=64, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0, bias=False)


class Reference(nn.Module):
    """The same GPT from PyTorch's own layers."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        layer = nn.TransformerEncoderLayer(
            config.d_model, config.num_heads, config.d_ff, 0.0, "gelu", batch_first=True, norm_first=True, bias=False
        )
        self.layers = nn.TransformerEncoder(layer, config.num_layers, nn.LayerNorm(config.d_model, bias=False), False)
        self.mask = nn.Transformer.generate_square_subsequent_mask(config.context)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return F.linear(self.layers(x, self.mask, is_causal=True), self.embedding.weight)


def stepper(model: nn.Module) -> Callable[[Tensor], float]:
    """A function that makes one update on a batch of tokens and returns its duration in seconds."""
    optimizer = make_optimizer(model, TrainConfig())

    def step(tokens: Tensor) -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()).backward()
        clip_gradients(model, 1.0)
        optimizer.step()
        return time.perf_counter() - start

    return step


def main() -> None:
    steps = [stepper(build(CONFIG, seed=1)), stepper(Reference(CONFIG))]
    times: list[list[float]] = [[], []]
    for _ in range(WARM_UP + PAIRS):
        tokens = torch.randint(CONFIG.vocab_size, (BATCH, CONFIG.context + 1))
        for durations, step in zip(times, steps, strict=True):
            durations.append(step(tokens))
    ours, theirs = (durations[WARM_UP:] for durations in times)
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    size = BATCH * CONFIG.context
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of {PAIRS} pairs")
    print(f"clearformer {size / statistics.median(ours):,.0f} tokens/s")
    print(f"torch.nn    {size / statistics.median(theirs):,.0f} tokens/s")
    quarter, half, three = (ratios[len(ratios) * part // 4] for part in (1, 2, 3))
    print(f"clearformer is {half:.2f} times as fast (quartiles {quarter:.2f} and {three:.2f})")


if __name__ == "__main__":
    main()
