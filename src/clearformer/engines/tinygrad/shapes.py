"""Signatures such as `Float[Tensor, "B T D"]` for tinygrad's tensors, whose types have names of their own."""

from typing import TYPE_CHECKING, cast

from tinygrad import Tensor, dtypes

__all__ = ["Bool", "Float", "Int", "sizes"]

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    from jaxtyping import AbstractDtype

    def _named(name, dtype):
        return type(name, (AbstractDtype,), {"dtypes": [repr(dtype).removeprefix("dtypes.")]})

    # beartype takes two hints of the same words for the same, and PyTorch's class is a `Tensor` too
    Float = _named("TinygradFloat", dtypes.float32)
    Int = _named("TinygradInt", dtypes.int32)
    Bool = _named("TinygradBool", dtypes.bool)


def sizes(x: Tensor) -> tuple[int, ...]:
    """A tensor's shape, in which tinygrad could have symbols; ours has none."""
    return cast(tuple[int, ...], x.shape)
