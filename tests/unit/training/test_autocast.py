"""What CUDA does in bfloat16 is tried on the CPU, which has it too: types meet, and training and decoding work."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from clearformer.config import CosineSchedule, TrainConfig
from clearformer.data.batches import PairBuckets
from clearformer.generation import decoding
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.generation.translation import translate
from clearformer.inspection.record import record
from clearformer.training import device
from clearformer.training.loop import train
from clearformer.training.optimizer import make_optimizer


@pytest.fixture(autouse=True)
def _in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device, decoding):
        monkeypatch.setattr(module, "compute_dtype", lambda *_: torch.bfloat16)


def test_training_in_bfloat16_keeps_weights_in_float32_and_learns(tiny: Callable[..., nn.Module]):
    model = tiny("transformer")
    batches = PairBuckets([([4, 5], [5, 4]), ([6, 7], [7, 6])], batch_tokens=100, seed=1)
    config = TrainConfig(steps=100, schedule=CosineSchedule(peak=1e-2, warmup_steps=0))
    losses = [step.loss for step in train(model, make_optimizer(model, config), batches, config)]
    assert losses[-1] < losses[0] / 2
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_decoding_in_bfloat16_takes_a_cache_of_bfloat16(tiny: Callable[..., nn.Module]):
    gpt = tiny("gpt")
    seen: set[torch.dtype] = set()
    gpt.decoder.layers[0].attention.core.register_forward_pre_hook(
        lambda _core, inputs: seen.update(part.dtype for part in inputs[:3])
    )
    with_cache = list(generate(gpt, [[4], [5, 6, 7]], 4, GREEDY))
    assert seen == {torch.bfloat16}
    assert len(with_cache) == 4
    assert len(translate(tiny("transformer"), [[4, 5], [6]])) == 2


def test_recording_works_in_bfloat16(tiny: Callable[..., nn.Module]):
    gpt = tiny("gpt")
    with record(gpt) as trace, device.autocast(torch.device("cpu")):
        gpt(torch.tensor([[1, 2, 3]]))
    assert all(weights.isfinite().all() for weights in trace.attention.values())
