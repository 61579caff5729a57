"""KV cache: keys and values of past tokens, kept so that a new token costs one step and not the whole sequence again.

    k[0..p], v[0..p] do not depend on later tokens (the mask is causal), so they are computed once and looked up.

Storage is allocated at its final length, and anew only for more rows; slot p holds position p. Rows may stand at
different lengths: a query at position p attends to the slots 0 to p of its row, and what lies beyond is overwritten
before it is ever seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearformer.blocks.masks import position_mask

KeysValues = tuple[Float[Tensor, "B G S E"], Float[Tensor, "B G S E"]]


class KVCache:
    """The cache of a whole model: one `LayerCache` a layer, and the number of tokens each row holds."""

    def __init__(
        self, *, num_layers: int, batch_size: int, num_heads: int, max_length: int, head_width: int, like: Tensor
    ) -> None:
        """`num_heads` are those of keys and values; `like` gives the dtype and the device."""
        shape = (batch_size, num_heads, max_length, head_width)
        self.layers = [LayerCache(self, like.new_zeros(shape), like.new_zeros(shape)) for _ in range(num_layers)]
        self.max_length = max_length
        self.tokens = torch.zeros(batch_size, max_length, dtype=torch.int64, device=like.device)
        self.lengths = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        self.longest = 0
        self.even = True

    def set_lengths(self, lengths: list[int]) -> None:
        """Say how many tokens of each row count; what was written beyond them is forgotten."""
        self.lengths = torch.tensor(lengths, device=self.lengths.device)
        self.longest = max(lengths)
        self.even = min(lengths) == self.longest

    def positions(self, T: int) -> Int[Tensor, "B T"]:  # noqa: N803
        """Where the next T tokens of each row stand."""
        return self.lengths[:, None] + torch.arange(T, device=self.lengths.device)

    def mask(self, T: int) -> Bool[Tensor, "B 1 T S"] | None:  # noqa: N803
        """What the next T tokens may see, where rows differ in length; None where causal attention says it all."""
        return None if self.even else position_mask(self.positions(T), self.longest + T)

    def with_past(self, tokens: Int[Tensor, "B T"], past: int) -> Int[Tensor, "B past_and_T"]:
        """Store the next tokens, and return them behind the `past` ones before them (0 where there are fewer)."""
        new = self.positions(tokens.shape[1])
        self.tokens.scatter_(1, new, tokens)
        places = torch.cat((new[:, :1] - torch.arange(past, 0, -1, device=new.device), new), dim=1)
        return self.tokens.gather(1, places.clamp(min=0)).masked_fill(places < 0, 0)

    def advance(self, T: int) -> None:  # noqa: N803
        """Count T more tokens in every row, after all layers have written them."""
        self.lengths = self.lengths + T
        self.longest += T

    def reorder(self, rows: Int[Tensor, " R"]) -> None:
        """Let row i go on as the old row `rows[i]`: its keys, values, tokens and length; beam search needs it.

        A row may go on as several, or as none. Rows that come from one row share what was remembered of the encoder's
        output, so it is copied only if some row takes the place of one that came from another.
        """
        for layer in self.layers:
            layer.reorder(rows)
        self.tokens = self.tokens[rows]
        self.set_lengths(self.lengths[rows].tolist())


@dataclass
class LayerCache:
    """One layer's storage, and the keys and values of the encoder's output where the layer attends to one."""

    owner: KVCache
    keys: Float[Tensor, "B G S E"]
    values: Float[Tensor, "B G S E"]
    memory: KeysValues | None = field(default=None)
    sources: Int[Tensor, " B"] | None = field(default=None)
    """which row of the encoder's output each row of `memory` is"""

    def write(self, keys: Float[Tensor, "B G T E"], values: Float[Tensor, "B G T E"]) -> KeysValues:
        """Store what T new tokens brought and return all keys and values so far, as views of the storage."""
        T, start = keys.shape[2], self.owner.longest  # noqa: N806
        end = start + T
        # where products are in bfloat16, norms and rotary positions still give float32
        keys, values = keys.to(self.keys.dtype), values.to(self.values.dtype)
        assert end <= self.owner.max_length, f"{end} tokens do not fit into a cache of {self.owner.max_length}"
        if self.owner.even:
            self.keys[:, :, start:end] = keys
            self.values[:, :, start:end] = values
        else:
            positions = self.owner.positions(T)
            rows = torch.arange(len(positions), device=positions.device)[:, None]
            self.keys[rows, :, positions] = keys.transpose(1, 2)
            self.values[rows, :, positions] = values.transpose(1, 2)
        return self.keys[:, :, :end], self.values[:, :, :end]

    def remember(self, project: Callable[[Tensor], KeysValues], memory: Float[Tensor, "B S D"]) -> KeysValues:
        """The keys and values of the encoder's output: projected at the first call, looked up from then on."""
        if self.memory is None:
            self.memory = project(memory)
            self.sources = torch.arange(len(memory), device=memory.device)
        return self.memory

    def reorder(self, rows: Int[Tensor, " R"]) -> None:
        """The part of one layer."""
        self.keys, self.values = (_reordered(storage, rows, self.owner.longest) for storage in (self.keys, self.values))
        if self.memory is None or self.sources is None:
            return
        sources = self.sources[rows]
        if not torch.equal(sources, self.sources):
            self.memory = self.memory[0][rows], self.memory[1][rows]
        self.sources = sources


def _reordered(storage: Float[Tensor, "B G S E"], rows: Int[Tensor, " R"], filled: int) -> Float[Tensor, "R G S E"]:
    """In the same storage, unless there are more rows than it has; only the first `filled` positions are copied."""
    more = len(rows) > len(storage)
    new = storage.new_zeros(len(rows), *storage.shape[1:]) if more else storage[: len(rows)]
    new[:, :, :filled] = storage[:, :, :filled].index_select(0, rows)  # a copy first, so no row is lost on the way
    return new


if __name__ == "__main__":
    cache = KVCache(num_layers=1, batch_size=2, num_heads=1, max_length=8, head_width=4, like=torch.zeros(0))
    keys, _ = cache.layers[0].write(torch.ones(2, 1, 3, 4), torch.ones(2, 1, 3, 4))
    cache.set_lengths([3, 2])  # the second row's prompt was one token shorter
    print(
        "after a prompt of 3 tokens the layer attends to", tuple(keys.shape), "; rows stand at", cache.lengths.tolist()
    )
    mask = cache.mask(1)
    assert mask is not None, "the rows are not even"
    print("the next token of each row may see:", mask[:, 0, 0].int().tolist())
