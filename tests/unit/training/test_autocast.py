"""Mixed precision, tested on the CPU: training, decoding and recording work in bfloat16, and weights stay float32."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from clearformer.config import CosineSchedule, TrainConfig
from clearformer.data.batches import PairBuckets
from clearformer.generation import torch_decoder
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY
from clearformer.generation.translation import translate
from clearformer.inspection.record import record
from clearformer.training import device
from clearformer.training.loop import train
from clearformer.training.optimizer import make_optimizer


@pytest.fixture
def _in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (device, torch_decoder):
        monkeypatch.setattr(module, "compute_dtype", lambda *_: torch.bfloat16)


@pytest.mark.usefixtures("_in_bfloat16")
def test_decoding_in_bfloat16_uses_a_cache_of_bfloat16(tiny: Callable[..., nn.Module]):
    gpt = tiny("gpt")
    dtypes: set[torch.dtype] = set()
    gpt.decoder.layers[0].attention.core.register_forward_pre_hook(
        lambda _core, inputs: dtypes.update(part.dtype for part in inputs[:3])
    )
    assert len(list(generate(gpt, [[4], [5, 6, 7]], 4, GREEDY))) == 4
    assert dtypes == {torch.bfloat16}
    assert len(translate(tiny("transformer"), [[4, 5], [6]])) == 2


@pytest.mark.usefixtures("_in_bfloat16")
def test_recording_works_in_bfloat16(tiny: Callable[..., nn.Module]):
    gpt = tiny("gpt")
    with record(gpt) as trace, device.autocast(torch.device("cpu")):
        gpt(torch.tensor([[1, 2, 3]]))
    assert all(weights.isfinite().all() for weights in trace.attention.values())


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_training_computes_in_the_configured_precision_keeps_weights_in_float32_and_learns(
    tiny: Callable[..., nn.Module], precision: str, dtype: torch.dtype
):
    model = tiny("transformer")
    dtypes: set[torch.dtype] = set()
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: dtypes.add(output.dtype))
    batches = PairBuckets([([4, 5], [5, 4]), ([6, 7], [7, 6])], batch_tokens=100, seed=1)
    schedule = CosineSchedule(peak=1e-2, warmup_steps=0)
    config = TrainConfig(steps=30, schedule=schedule, precision=precision)  # type: ignore[arg-type]
    losses = [step.loss for step in train(model, make_optimizer(model, config), batches, config)]
    assert dtypes == {dtype}
    assert losses[-1] < 0.75 * losses[0]
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert {weight.grad.dtype for weight in model.parameters() if weight.grad is not None} == {torch.float32}


@pytest.mark.parametrize("name", ["cpu", "mps", "cuda"])
def test_an_explicit_precision_is_used_on_every_device(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert device.compute_dtype(torch.device(name), "float32") == torch.float32
    assert device.compute_dtype(torch.device(name), "bfloat16") == torch.bfloat16
