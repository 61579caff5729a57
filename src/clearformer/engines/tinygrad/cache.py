"""KV cache: one tensor with the keys and values of all layers, written in place by a compiled step.

    [L, 2, B, G, S, E]: layer, key or value, row, head, position, element

It is allocated at its final length, since compiled functions have fixed shapes. Rows may have different lengths:
positions beyond a row's length are masked, and overwritten before they are used.
"""

from dataclasses import dataclass

from tinygrad import Tensor

from clearformer.engines.tinygrad.shapes import Float, Int, sizes


@dataclass(frozen=True)
class Past:
    """The context of new tokens: the cache, the position of each row's one new token, and the PAST tokens before it.

    Without `at`, the tokens begin at position 0; without a cache, their keys and values are not stored.
    """

    cache: Float[Tensor, "L 2 B G S E"] | None = None
    at: Int[Tensor, "B 1"] | None = None
    tokens: Int[Tensor, "B PAST"] | None = None

    def keys(self, T: int) -> int:  # noqa: N803
        """The number of keys that T new tokens have."""
        return T if self.cache is None or self.at is None else sizes(self.cache)[4]

    def layer(self, index: int) -> "LayerCache | None":
        return None if self.cache is None else LayerCache(self.cache, index, self.at)


NOTHING = Past()


@dataclass(frozen=True)
class LayerCache:
    """The part of one layer."""

    cache: Float[Tensor, "L 2 B G S E"]
    index: int
    at: Int[Tensor, "B 1"] | None

    def write(
        self, keys: Float[Tensor, "B G T E"], values: Float[Tensor, "B G T E"]
    ) -> tuple[Float[Tensor, "B G S E"], Float[Tensor, "B G S E"]]:
        """Store the first tokens and return them; or store one token per row, and return the whole cache."""
        return self._write(0, keys), self._write(1, values)

    def _write(self, which: int, new: Tensor) -> Tensor:
        storage = self.cache[self.index, which]
        S = sizes(storage)[2]  # noqa: N806
        if self.at is None:
            storage.assign(new.pad((None, None, (0, S - sizes(new)[2]), None)))
            return new
        here = Tensor.arange(S).reshape(1, 1, S, 1) == self.at.reshape(-1, 1, 1, 1)
        storage.assign(here.where(new, storage))
        return self.cache[self.index, which]
