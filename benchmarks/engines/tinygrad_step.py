"""A training step of our GPT in tinygrad compared with the same model built of tinygrad's own layers, both compiled.

Forward, backward, clipping and AdamW at 4 layers, width 128, context 64, batch 12, vocabulary 65. Both run in one
process and take turns, so that a noisy machine slows both. Prints one JSON object: medians in seconds, the ratio, and
the number of kernels per step. The device is DEV's, or the adapter's choice.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from clearformer.config import GPTConfig, TrainConfig
from clearformer.data.batches import TextBatch
from clearformer.engines.tinygrad import adapter

DEVICE = adapter.start()

# ruff: noqa: E402
from tinygrad import Tensor, TinyJit, nn

from clearformer.engines.tinygrad.model import Model
from clearformer.engines.tinygrad.optimizer import Optimizer
from clearformer.engines.tinygrad.training import Trainer

PAIRS, WARM_UP = 12, 3
BATCH = 12
CONFIG = GPTConfig(vocab_size=65, context=64, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0)
TRAINING = TrainConfig(clip=1.0)
RATE = 1e-3


class ReferenceLayer:
    """A pre-norm layer."""

    def __init__(self, config: GPTConfig) -> None:
        D = config.d_model  # noqa: N806
        self.heads = config.num_heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.widen, self.narrow = nn.Linear(D, config.d_ff), nn.Linear(config.d_ff, D)

    def __call__(self, x: Tensor) -> Tensor:
        B, T, D = x.shape  # noqa: N806
        q, k, v = (
            part.reshape(B, T, self.heads, D // self.heads).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        )
        attended = q.scaled_dot_product_attention(k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(B, T, D))
        return x + self.narrow(self.widen(self.feed_forward_norm(x)).gelu("none"))


class Reference:
    """The same GPT from tinygrad's own layers."""

    def __init__(self, config: GPTConfig) -> None:
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        self.layers = [ReferenceLayer(config) for _ in range(config.num_layers)]
        self.norm = nn.LayerNorm(config.d_model)

    def __call__(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(Tensor.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embedding.weight.T


class ReferenceStep:
    """A step as in tinygrad's examples."""

    def __init__(self) -> None:
        self.model = Reference(CONFIG)
        self.parameters = nn.state.get_parameters(self.model)
        self.optimizer = nn.optim.AdamW(
            self.parameters, RATE, TRAINING.beta1, TRAINING.beta2, TRAINING.epsilon, TRAINING.weight_decay
        )
        self.compiled = TinyJit(self._step)

    def __call__(self, batch: TextBatch) -> float:
        tokens, targets = (Tensor(array.astype(np.int32)).realize() for array in (batch.tokens, batch.targets))
        with adapter.training():
            return float(self.compiled(tokens, targets).numpy()[0])

    def _step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.model(tokens).sparse_categorical_crossentropy(targets)
        loss.backward()
        gradients = [weight.grad for weight in self.parameters if weight.grad is not None]
        norm = Tensor.stack(*(gradient.square().sum() for gradient in gradients)).sum().sqrt()
        for weight, gradient in zip(self.parameters, gradients, strict=True):
            weight.grad = gradient * (TRAINING.clip / (norm + 1e-6)).clamp(max_=1.0)
        result = Tensor.stack(loss, norm)
        return result.realize(*self.optimizer.schedule_step())


class OurStep:
    """A step of our trainer."""

    def __init__(self) -> None:
        model = Model(CONFIG, seed=1)
        self.trainer = Trainer(model, Optimizer(model, TRAINING), TRAINING)

    def __call__(self, batch: TextBatch) -> float:
        return self.trainer.step([batch], RATE, seed=1)[0]


def kernels(*compiled: TinyJit[Any]) -> int:
    """The number of captured kernels; some devices launch several as one graph."""
    count = 0
    for jit in compiled:
        assert jit.captured is not None, "kernels are captured at the second call"
        for call in jit.captured.linear.src:
            graph = call.src[0].src
            count += len(graph[0].src) if call.src[0].arg == "graph" else 1
    return count


def seconds(step: Callable[[TextBatch], float], batch: TextBatch) -> float:
    """The duration of a step, whose loss is read at its end."""
    start = time.perf_counter()
    step(batch)
    return time.perf_counter() - start


def main() -> None:
    ours, reference = OurStep(), ReferenceStep()
    rng, times = np.random.default_rng(1), []
    for _ in range(WARM_UP + PAIRS):
        tokens = rng.integers(0, CONFIG.vocab_size, (BATCH, CONFIG.context + 1))
        batch = TextBatch(tokens[:, :-1], tokens[:, 1:])
        times.append((seconds(ours, batch), seconds(reference, batch)))
    our_times, their_times = zip(*times[WARM_UP:], strict=True)
    result = {
        "device": DEVICE,
        "clearformer_seconds": statistics.median(our_times),
        "tinygrad_seconds": statistics.median(their_times),
        "ratio": statistics.median(one / other for one, other in times[WARM_UP:]),
        "clearformer_kernels": kernels(*ours.trainer.accumulate.jits.values(), ours.trainer.update),
        "tinygrad_kernels": kernels(reference.compiled),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
