"""Classifier: one vector for a whole text, and from it a logit for each class.

first: the vector of the first token, BERT's [CLS]               Devlin et al. 2018, arXiv:1810.04805, section 3.2
last:  of the last real token, which has seen all others in a GPT                   Radford et al. 2018, section 3.2
mean:  of all real tokens
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearformer.config import ClassifierConfig
from clearformer.models.bert import BERTBody
from clearformer.models.gpt import GPTBody

Pooling = Callable[[Float[Tensor, "B T D"], Bool[Tensor, "B T"]], Float[Tensor, "B D"]]


def first(x: Float[Tensor, "B T D"], _real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    return x[:, 0]


def last(x: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """Of the last real token; padding stands on the right."""
    return x[torch.arange(len(x), device=x.device), real.sum(-1) - 1]


def mean(x: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    weights = real.to(x.dtype)
    return (weights[:, :, None] * x).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)  # a text may be all padding


def read_all(body: BERTBody, tokens: Tensor, real: Tensor, segments: Tensor) -> Float[Tensor, "B T D"]:
    return body.features(tokens, real, segments)


def read_forwards(body: GPTBody, tokens: Tensor, _real: Tensor, _segments: Tensor) -> Float[Tensor, "B T D"]:
    """No token sees the padding, which stands on the right."""
    return body.features(tokens)


BODIES: dict[str, Callable[[ClassifierConfig], tuple[nn.Module, Callable[..., Tensor]]]] = {
    "bert": lambda config: (BERTBody(config, config.segments), read_all),
    "gpt": lambda config: (GPTBody(config), read_forwards),
}
POOLINGS: dict[str, Pooling] = {"first": first, "last": last, "mean": mean}


class Classifier(nn.Module):
    """Reads a text, or several, and says which class it is of."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.body, self.read = BODIES[config.body](config)
        self.pool = POOLINGS[config.pooling]
        self.dropout = nn.Dropout(config.dropout)
        self.class_projection = nn.Linear(config.d_model, config.num_classes)

    def forward(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        features = self.read(self.body, tokens, real, segments)
        return self.class_projection(self.dropout(self.pool(features, real)))

    def token_logits(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T C"]:
        """What each token says by itself: of `mean` pooling, and without dropout, the logits are the mean of these."""
        return self.class_projection(self.dropout(self.read(self.body, tokens, real, segments)))


if __name__ == "__main__":
    sizes = ClassifierConfig(vocab_size=50, context=16, d_model=32, num_heads=4, num_layers=2, d_ff=128, num_classes=3)
    tokens = torch.arange(7)[None]
    logits = Classifier(sizes)(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))
    print("7 tokens, 3 classes -> logits", tuple(logits.shape))
