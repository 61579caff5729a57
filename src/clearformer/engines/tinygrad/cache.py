"""KV cache: one tensor with the keys and values of all layers, written in place by a compiled step.

    [L, 2, B, G, S, E]: layer, key or value, row, head, place, element

It has its final size from the beginning, since what is compiled has fixed shapes. Each row has a place of its own; what
lies beyond it is hidden by a mask, and overwritten before it is ever seen.
"""

from dataclasses import dataclass

from tinygrad import Tensor

from clearformer.engines.tinygrad.shapes import Float, Int, sizes


@dataclass(frozen=True)
class Past:
    """What came before some tokens: the cache, where in it the one token of each row stands, and what stood before.

    Without `at`, the tokens are the first; without a cache, nothing is kept.
    """

    cache: Float[Tensor, "L 2 B G S E"] | None = None
    at: Int[Tensor, "B 1"] | None = None
    tokens: Int[Tensor, "B PAST"] | None = None

    def layer(self, index: int) -> "LayerCache | None":
        return None if self.cache is None else LayerCache(self.cache, index, self.at)


NOTHING = Past()


@dataclass(frozen=True)
class LayerCache:
    """One layer's part."""

    cache: Float[Tensor, "L 2 B G S E"]
    index: int
    at: Int[Tensor, "B 1"] | None

    def write(
        self, keys: Float[Tensor, "B G T E"], values: Float[Tensor, "B G T E"]
    ) -> tuple[Float[Tensor, "B G S E"], Float[Tensor, "B G S E"]]:
        """Store the first tokens and give them back; or store one a row, and give all there are."""
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
