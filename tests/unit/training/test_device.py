"""The named device is used, or the error lists those available."""

import numpy as np
import pytest
import torch

from clearformer.errors import ConfigError
from clearformer.training.device import autocast, choose_device, compute_dtype, move


def make_available(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_fastest_available_device(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str):
    make_available(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device("auto") == torch.device(expected)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("mps", "usable"), [(False, "cpu"), (True, "mps, cpu")])
def test_a_missing_device_is_an_error_that_lists_those_available(
    monkeypatch: pytest.MonkeyPatch, mps: bool, usable: str
):
    make_available(monkeypatch, cuda=False, mps=mps)
    message = f"the device 'cuda' is not available on this machine; use one of {usable}"
    with pytest.raises(ConfigError, match=f"^{message}$"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("name", "has_bf16", "dtype"),
    [
        ("cpu", True, torch.float32),
        ("mps", True, torch.float32),
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float32),
    ],
)
def test_auto_is_bfloat16_only_on_cuda_that_supports_it(
    name: str, has_bf16: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert compute_dtype(torch.device(name)) == dtype
    if name == "cuda":
        assert compute_dtype(torch.device(name), "native") == dtype


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ({}, torch.float32),  # a processor other than x86
    ],
)
def test_native_is_bfloat16_only_on_a_cpu_that_supports_it(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert compute_dtype(torch.device("cpu"), "native") == dtype
    assert compute_dtype(torch.device("cpu"), "auto") == torch.float32
    assert compute_dtype(torch.device("mps"), "native") == torch.float32


def test_autocast_computes_in_float32_on_the_cpu():
    x = torch.ones(2, 2)
    with autocast(torch.device("cpu")):
        assert (x @ x).dtype == torch.float32


def test_move_keeps_values_and_dtypes():
    tokens, real = np.array([[1, -100]]), np.array([[True, False]])
    assert move(tokens, torch.device("cpu")).tolist() == [[1, -100]]
    assert move(tokens, torch.device("cpu")).dtype == torch.int64
    assert move(real, torch.device("cpu")).dtype == torch.bool


def test_what_moves_to_a_gpu_is_pinned(monkeypatch: pytest.MonkeyPatch):
    taken: list[str] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: taken.append("pinned") or self)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device, **_: taken.append(device.type) or self)
    move(np.array([1]), torch.device("cuda"))
    move(np.array([1]), torch.device("cpu"))
    assert taken == ["pinned", "cuda", "cpu"]
