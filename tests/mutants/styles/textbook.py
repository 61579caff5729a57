"""A text classifier as textbooks build it: one module a head, joined in a list, the mean over the real tokens."""

import torch
from torch import Tensor, nn

from clearformer.checks.subject import Subject

PAD = 0


class Head(nn.Module):
    """One head: every token takes a weighted mean of all real tokens' values."""

    def __init__(self, width: int, head_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, head_width, bias=False)
        self.key = nn.Linear(width, head_width, bias=False)
        self.value = nn.Linear(width, head_width, bias=False)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(1, 2) * k.shape[-1] ** -0.5
        scores = scores.masked_fill(~real[:, None, :], -1e30)
        return scores.softmax(dim=-1) @ v


class MultiHead(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([Head(width, width // num_heads) for _ in range(num_heads)])
        self.join = nn.Linear(width, width)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        return self.join(torch.cat([head(x, real) for head in self.heads], dim=-1))


class Layer(nn.Module):
    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHead(width, num_heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        x = self.norm_1(x + self.dropout(self.attention(x, real)))
        return self.norm_2(x + self.dropout(self.feed_forward(x)))


class Classifier(nn.Module):
    def __init__(
        self,
        vocab_size: int = 23,
        num_classes: int = 3,
        context: int = 24,
        width: int = 32,
        num_heads: int = 4,
        num_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Parameter(torch.randn(context, width) * 0.02)
        self.layers = nn.ModuleList([Layer(width, num_heads, dropout) for _ in range(num_layers)])
        self.output = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor, real: Tensor) -> Tensor:
        """Logits [B, C]."""
        x = self.tokens(tokens) + self.positions[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, real)
        x = x.masked_fill(~real[:, :, None], 0.0)
        return self.output(x.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1))


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits, labels)


def subject() -> Subject:
    torch.manual_seed(0)
    return Subject(
        Classifier(),
        call=lambda model, tokens: model(tokens, torch.ones_like(tokens, dtype=torch.bool)),
        kind="classifier",
        vocab_size=23,
        context=24,
        reserved=(PAD,),
        pad=PAD,
        padded=lambda model, tokens, real: model(tokens, real),
        loss=lambda model, tokens, labels: class_loss(model(tokens, torch.ones_like(tokens).bool()), labels),
        norm_order="post",
        name="textbook classifier",
    )
