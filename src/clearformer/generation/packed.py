"""Products of a few rows with weights that are packed once, for as long as a decoder writes.

    y = x Wᵀ + b

A matrix product first copies W into an order that suits the processor. With hundreds of rows of x that is little beside
the product, and with one row W is read as it is; in between the copy takes longer than the product, so it is kept: as
much memory as the weights once more. MKL's copy is the faster one on Intel's processors, oneDNN's on others.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

ROWS = range(2, 257)
"""for which a copy pays"""

Product = Callable[[Tensor, Tensor | None], Tensor]
"""x [*, I] and b [O], or None -> y [*, O]"""


def mkl_product(weight: Tensor, rows: int) -> Product:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    return lambda x, bias: torch.ops.mkl._mkl_linear(x, packed, weight, bias, rows)


def onednn_product(weight: Tensor, rows: int) -> Product:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    return lambda x, bias: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def fastest_product() -> Callable[[Tensor, int], Product] | None:
    """For this processor; None if PyTorch was built without either library."""
    if "Intel" in torch.cpu.get_capabilities().get("cpu_name", "") and torch.backends.mkl.is_available():
        return mkl_product
    return onednn_product if torch.backends.mkldnn.is_available() else None


class PackedProducts(TorchFunctionMode):
    """`with packed.of(rows):` in it, products in float32 on a CPU use packed copies of their weights.

    Copies are made when a number of rows comes a second time. Weights must not change while they are in use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pack = fastest_product()
        self.rows = 0
        self.products: dict[int, Product] = {}

    def of(self, rows: int) -> contextlib.AbstractContextManager[Any]:
        again = rows == self.rows
        if not again:
            self.rows = rows
            self.products.clear()
        return self if again and rows in ROWS and self.pack is not None else contextlib.nullcontext()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and isinstance(args[1], nn.Parameter) and _fits(args[1]):
            x, weight, bias = args
            if id(weight) not in self.products:
                assert self.pack is not None
                self.products[id(weight)] = self.pack(weight.detach(), self.rows)
            return self.products[id(weight)](x, bias)
        return func(*args, **(kwargs or {}))


def _fits(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")


if __name__ == "__main__":
    linear, x, packed = nn.Linear(384, 1536), torch.randn(16, 384), PackedProducts()
    with torch.inference_mode():
        for _ in range(2):
            with packed.of(len(x)):
                y = linear(x)
        print(f"{len(packed.products)} packed, largest difference {(y - linear(x)).abs().max():.0e}")
