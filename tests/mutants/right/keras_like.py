"""Habits of Keras: weights built at the first call, `training` passed along, masks carried beside the activations,
token 0 as padding, one layer for tokens and positions, losses with weights."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 39, 24, 32, 4, 2


class TokenAndPositionEmbedding(nn.Module):
    def __init__(self, mask_zero: bool) -> None:
        super().__init__()
        self.token_emb, self.pos_emb = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.mask_zero = mask_zero
        for table in (self.token_emb, self.pos_emb):
            nn.init.uniform_(table.weight, -0.05, 0.05)

    def compute_mask(self, inputs: Tensor) -> Tensor:
        return inputs != 0 if self.mask_zero else torch.ones_like(inputs, dtype=torch.bool)

    def forward(self, inputs: Tensor) -> Tensor:
        positions = torch.arange(inputs.shape[-1], device=inputs.device)
        return self.token_emb(inputs) + self.pos_emb(positions)


class MultiHeadAttention(nn.Module):
    """Projections of shape [D, H, E], as EinsumDense has them."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        key_dim = WIDTH // HEADS
        self.kernels = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(WIDTH, HEADS, key_dim)) for name in ("query", "key", "value")}
        )
        self.biases = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(HEADS, key_dim)) for name in ("query", "key", "value")}
        )
        self.output_kernel = nn.Parameter(torch.empty(HEADS, key_dim, WIDTH))
        self.output_bias = nn.Parameter(torch.zeros(WIDTH))
        self.dropout = nn.Dropout(dropout)
        for kernel in self.kernels.values():
            nn.init.xavier_uniform_(kernel.data.view(WIDTH, WIDTH))
        nn.init.xavier_uniform_(self.output_kernel.data.view(WIDTH, WIDTH))

    def forward(self, query: Tensor, value: Tensor, attention_mask: Tensor) -> Tensor:
        q = torch.einsum("btd,dhe->bthe", query, self.kernels["query"]) + self.biases["query"]
        k = torch.einsum("bsd,dhe->bshe", value, self.kernels["key"]) + self.biases["key"]
        v = torch.einsum("bsd,dhe->bshe", value, self.kernels["value"]) + self.biases["value"]
        q = q * q.shape[-1] ** -0.5
        scores = torch.einsum("bshe,bthe->bhts", k, q)
        scores = scores + torch.where(attention_mask, 0.0, torch.finfo(scores.dtype).min / 2).to(scores.dtype)
        weights = self.dropout(scores.softmax(dim=-1))
        return torch.einsum("bhts,bshe->bthe", weights, v).flatten(2) @ self.output_kernel.flatten(0, 1) + (
            self.output_bias
        )


class TransformerBlock(nn.Module):
    """Post-norm, the feed-forward built when its input's width is known."""

    def __init__(self, rate: float = 0.1) -> None:
        super().__init__()
        self.att = MultiHeadAttention(rate)
        self.ffn = nn.Sequential(nn.LazyLinear(64), nn.ReLU(), nn.LazyLinear(WIDTH))
        self.layernorm1, self.layernorm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.rate = rate

    def forward(self, inputs: Tensor, attention_mask: Tensor, training: bool) -> Tensor:
        attn_output = F.dropout(self.att(inputs, inputs, attention_mask), self.rate, training)
        out1 = self.layernorm1(inputs + attn_output)
        return self.layernorm2(out1 + F.dropout(self.ffn(out1), self.rate, training))


class KerasModel(nn.Module):
    """`kind`: causal, masked or classifier. It is built by one call, as `model.build` does."""

    def __init__(self, kind: str, mask_zero: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.embedding = TokenAndPositionEmbedding(mask_zero)
        self.blocks = nn.ModuleList([TransformerBlock() for _ in range(LAYERS)])
        self.dense = nn.LazyLinear(3 if kind == "classifier" else VOCAB)
        with torch.no_grad():
            self(torch.ones(1, 4, dtype=torch.int64))

    def forward(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        training = self.training if training is None else training
        padding = self.embedding.compute_mask(inputs)
        mask = padding[:, None, None, :]
        if self.kind == "causal":
            T = inputs.shape[1]  # noqa: N806
            mask = mask & torch.ones(T, T, dtype=torch.bool, device=inputs.device).tril()
        x = self.embedding(inputs)
        for block in self.blocks:
            x = block(x, mask, training)
        if self.kind == "classifier":
            weights = padding[:, :, None].to(x.dtype)
            x = (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return self.dense(x)


class WithCompiledLoss(KerasModel):
    """`compute_loss(x, y, sample_weight)` and `train_step((x, y))`, as a compiled model has."""

    def compute_loss(self, x: Tensor, y: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        each = F.cross_entropy(self(x).flatten(0, 1), y.flatten(), reduction="none").view(y.shape)
        if sample_weight is None:
            return each.mean()
        return (each * sample_weight).sum() / sample_weight.sum()

    def train_step(self, data: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        x, y = data
        return {"loss": self.compute_loss(x, y)}


MODELS: dict[str, Callable[[], nn.Module]] = {
    "language model": partial(seeded, KerasModel, "causal"),
    "language model, zero is padding": partial(seeded, KerasModel, "causal", mask_zero=True),
    "language model, compiled": partial(seeded, WithCompiledLoss, "causal"),
    "masked language model": partial(seeded, KerasModel, "masked"),
    "masked language model, zero is padding": partial(seeded, KerasModel, "masked", mask_zero=True),
    "classifier": partial(seeded, KerasModel, "classifier"),
    "classifier, zero is padding": partial(seeded, KerasModel, "classifier", mask_zero=True),
}
