"""Annotations such as `Float[Tensor, "B T D"]` for tinygrad's tensors, whose dtypes have other names."""

from typing import TYPE_CHECKING, cast

from tinygrad import Tensor, dtypes

__all__ = ["Bool", "Float", "Int", "sizes"]

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
else:
    from jaxtyping import AbstractDtype

    def _named(name, dtype):
        return type(name, (AbstractDtype,), {"dtypes": [repr(dtype).removeprefix("dtypes.")]})

    # names of their own: beartype caches hints by name, and PyTorch's class is `Tensor` too
    Float = _named("TinygradFloat", dtypes.float32)
    Int = _named("TinygradInt", dtypes.int32)
    Bool = _named("TinygradBool", dtypes.bool)


def sizes(x: Tensor) -> tuple[int, ...]:
    """A tensor's shape, as integers: tinygrad's symbolic sizes are not used."""
    return cast(tuple[int, ...], x.shape)
