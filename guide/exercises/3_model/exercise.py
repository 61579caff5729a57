"""Exercise 3: the causal mask and the decoder.

Write the mask, attention that obeys a mask, and the forward pass of a decoder layer with one head.
"""

from torch import Tensor, nn


def causal_mask(T: int) -> Tensor:  # noqa: N803
    """A boolean mask [T, T], True where the row's token may attend to the column's: to itself and to earlier ones."""
    raise NotImplementedError


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of T queries [..., T, E] to S keys and values [..., S, E]; a key whose mask is False has weight zero.

    The mask fits [..., T, S]; without one, every query may attend to every key. `torch.softmax` may be used.
    A query that may attend to nothing must give finite numbers.
    """
    raise NotImplementedError


class DecoderLayer(nn.Module):
    """Causal self-attention, then attention to `memory`, the encoder's output, then feed-forward.

    Each is added to what went into it. To keep it short there is one head, and there are no norms.
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.cross_query = nn.Linear(d_model, d_model, bias=False)
        self.cross_key = nn.Linear(d_model, d_model, bias=False)
        self.cross_value = nn.Linear(d_model, d_model, bias=False)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.ReLU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x [B, T, D] and memory [B, S, D] -> [B, T, D]"""
        raise NotImplementedError
