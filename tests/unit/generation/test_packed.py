"""Packed products are those of `F.linear`, and are used where they pay."""

import pytest
import torch
from torch import Tensor, nn

from clearformer.generation.packed import PackedProducts, fastest_product, mkl_product, onednn_product

ROUNDING = 1e-6
"""relative to the largest sum of 96 float32 products of size 1; 2e-7 seen"""
KERNELS = {
    "MKL": pytest.param(
        mkl_product, marks=pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="PyTorch without MKL")
    ),
    "oneDNN": pytest.param(
        onednn_product,
        marks=pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN"),
    ),
}
needs_a_kernel = pytest.mark.skipif(fastest_product() is None, reason="PyTorch without MKL and oneDNN")


@pytest.mark.parametrize("pack", KERNELS.values(), ids=KERNELS)
@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_a_packed_product_is_that_of_float64_also_for_another_number_of_rows(pack, bias: bool):
    linear, x = nn.Linear(96, 40, bias), torch.randn(7, 3, 96)
    product = pack(linear.weight.detach(), 21)
    expected = linear.double()(x.double())
    linear.float()
    for rows in (x, x[:2]):
        found = product(rows, linear.bias)
        assert (found - expected[: len(rows)]).abs().max() < ROUNDING * expected.abs().max()


@needs_a_kernel
@torch.inference_mode()
def test_weights_are_packed_when_a_number_of_rows_comes_again_and_anew_for_another():
    linear, packed = nn.Linear(4, 4), PackedProducts()

    def packed_after(rows: int) -> int:
        with packed.of(rows):
            linear(torch.randn(rows, 4))
        return len(packed.products)

    assert [packed_after(rows) for rows in (3, 3, 3, 2, 2, 1, 1)] == [0, 1, 1, 0, 1, 0, 0]


@needs_a_kernel
@torch.inference_mode()
def test_other_products_are_left_alone():
    linear, packed, x = nn.Linear(4, 4), PackedProducts(), torch.randn(2, 4)
    computed: list[Tensor] = []
    for _ in range(2):
        with packed.of(2):
            computed = [nn.functional.linear(x, torch.eye(4)), linear.double()(x.double()), x @ x.T]
    assert packed.products == {}
    torch.testing.assert_close(computed, [x, linear(x.double()), x @ x.T])
