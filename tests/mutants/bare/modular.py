"""Bugs in the modular encoder-decoder."""

from bare.answers import DROWNED, RESIDUAL
from bare.bug import Bug

BUGS = (
    Bug(
        "encoder-layer-without-a-residual",
        "residual",
        "x = self.norms[0](x + self.dropout(self.attention(x, *self.attention.keys_and_values(x), mask)))",
        "x = self.norms[0](self.dropout(self.attention(x, *self.attention.keys_and_values(x), mask)))",
        "the residual around the encoder's attention is missing",
        RESIDUAL,
    ),
    Bug(
        "waves-larger-than-words",
        "order",
        "x = self.table(tokens) * math.sqrt(self.table.embedding_dim)",
        "x = self.table(tokens) * 0.1",
        "embeddings are a tenth of what they should be: positions drown them",
        DROWNED,
    ),
)
