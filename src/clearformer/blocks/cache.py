"""KV cache: keys and values of past tokens are kept, so that a new token does not process the whole sequence again.

    k[0..p], v[0..p] do not depend on later tokens (the mask is causal), so they are computed once and looked up.

Storage is allocated at its final length, and again only if the number of rows grows; slot p holds position p. Rows may
have different lengths: a query at position p attends to slots 0 to p of its row, and later slots are overwritten before
any query attends to them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearformer.blocks.masks import position_mask

KeysValues = tuple[Float[Tensor, "B G S E"], Float[Tensor, "B G S E"]]


class KVCache:
    """The cache of a whole model: one `LayerCache` per layer, and the tokens and the length of each row."""

    def __init__(
        self, *, num_layers: int, batch_size: int, num_heads: int, max_length: int, head_width: int, like: Tensor
    ) -> None:
        """`num_heads` counts key-value heads; `like` gives the dtype and the device."""
        shape = (batch_size, num_heads, max_length, head_width)
        self.layers = [LayerCache(self, like.new_zeros(shape), like.new_zeros(shape)) for _ in range(num_layers)]
        self.max_length = max_length
        self.tokens = torch.zeros(batch_size, max_length, dtype=torch.int64, device=like.device)
        self.lengths = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        self.longest = 0
        self.equal_lengths = True

    def set_lengths(self, lengths: list[int]) -> None:
        """Keep only so many tokens of each row."""
        self.lengths = torch.tensor(lengths, device=self.lengths.device)
        self.longest = max(lengths)
        self.equal_lengths = min(lengths) == self.longest

    def positions(self, T: int) -> Int[Tensor, "B T"]:  # noqa: N803
        """Positions of the next T tokens of each row."""
        return self.lengths[:, None] + torch.arange(T, device=self.lengths.device)

    def mask(self, T: int) -> Bool[Tensor, "B 1 T S"] | None:  # noqa: N803
        """The mask of the next T tokens; None if all rows have the same length, since a causal mask is enough then."""
        return None if self.equal_lengths else position_mask(self.positions(T), self.longest + T)

    def with_past(self, tokens: Int[Tensor, "B T"], past: int) -> Int[Tensor, "B past_and_T"]:
        """Store the next tokens; return them preceded by the `past` tokens before them (0 if a row has fewer)."""
        new = self.positions(tokens.shape[1])
        self.tokens.scatter_(1, new, tokens)
        positions = torch.cat((new[:, :1] - torch.arange(past, 0, -1, device=new.device), new), dim=1)
        return self.tokens.gather(1, positions.clamp(min=0)).masked_fill(positions < 0, 0)

    def advance(self, T: int) -> None:  # noqa: N803
        """Lengthen every row by T, once all layers have written their T tokens."""
        self.lengths = self.lengths + T
        self.longest += T

    def reorder(self, rows: Int[Tensor, " new_B"]) -> None:
        """Make row i a copy of the old row `rows[i]`: its keys, values, tokens and length. Beam search needs it.

        An old row may be copied several times or dropped. Keys and values of the encoder's output are copied only if
        some row now belongs to another source.
        """
        for layer in self.layers:
            layer.reorder(rows)
        self.tokens = self.tokens[rows]
        self.set_lengths(self.lengths[rows].tolist())


@dataclass
class LayerCache:
    """One layer's storage, and the keys and values of the encoder's output if the layer has cross-attention."""

    owner: KVCache
    keys: Float[Tensor, "B G S E"]
    values: Float[Tensor, "B G S E"]
    memory: KeysValues | None = field(default=None)
    sources: Int[Tensor, " B"] | None = field(default=None)
    """the row of the encoder's output that each row of `memory` was computed from"""

    def write(self, keys: Float[Tensor, "B G T E"], values: Float[Tensor, "B G T E"]) -> KeysValues:
        """Store the keys and values of T new tokens; return those of all tokens so far, as views of the storage."""
        T, start = keys.shape[2], self.owner.longest  # noqa: N806
        end = start + T
        # under bfloat16 autocast, norms and rotary positions still return float32
        keys, values = keys.to(self.keys.dtype), values.to(self.values.dtype)
        assert end <= self.owner.max_length, f"{end} tokens do not fit into a cache of {self.owner.max_length}"
        if self.owner.equal_lengths:
            self.keys[:, :, start:end] = keys
            self.values[:, :, start:end] = values
        else:
            positions = self.owner.positions(T)
            rows = torch.arange(len(positions), device=positions.device)[:, None]
            self.keys[rows, :, positions] = keys.transpose(1, 2)
            self.values[rows, :, positions] = values.transpose(1, 2)
        return self.keys[:, :, :end], self.values[:, :, :end]

    def remember(self, project: Callable[[Tensor], KeysValues], memory: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of the encoder's output, projected at the first call and looked up afterwards."""
        if self.memory is None:
            self.memory = project(memory)
            self.sources = torch.arange(len(memory), device=memory.device)
        return self.memory

    def reorder(self, rows: Int[Tensor, " new_B"]) -> None:
        """This layer's part of `KVCache.reorder`."""
        self.keys, self.values = (_reordered(storage, rows, self.owner.longest) for storage in (self.keys, self.values))
        if self.memory is None or self.sources is None:
            return
        sources = self.sources[rows]
        if not torch.equal(sources, self.sources):
            self.memory = self.memory[0][rows], self.memory[1][rows]
        self.sources = sources


def _reordered(
    storage: Float[Tensor, "B G S E"], rows: Int[Tensor, " new_B"], filled: int
) -> Float[Tensor, "new_B G S E"]:
    """The first `filled` positions of `rows`, written to the same storage unless it has too few rows."""
    more = len(rows) > len(storage)
    new = storage.new_zeros(len(rows), *storage.shape[1:]) if more else storage[: len(rows)]
    new[:, :, :filled] = storage[:, :, :filled].index_select(0, rows)  # index_select copies, so no row is lost
    return new


if __name__ == "__main__":
    cache = KVCache(num_layers=1, batch_size=2, num_heads=1, max_length=8, head_width=4, like=torch.zeros(0))
    keys, _ = cache.layers[0].write(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    cache.set_lengths([3, 2])  # the second row's prompt was one token shorter
    print("keys after a prompt of 3 tokens:", tuple(keys.shape), "lengths of the rows:", cache.lengths.tolist())
    mask = cache.mask(1)
    assert mask is not None, "the rows have different lengths"
    print("mask of each row's next token:", mask[:, 0, 0].int().tolist())
