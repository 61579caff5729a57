"""Classifier: one vector for a whole text, and from it a logit for each class.

first: the vector of the first token, BERT's [CLS]               Devlin et al. 2018, arXiv:1810.04805, section 3.2
last:  of the last token, which attends to all others in a GPT                      Radford et al. 2018, section 3.2
mean:  the mean of all tokens
Padding, which is False in `real`, is never pooled.
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
    """The last token before the padding, which must be on the right."""
    return x[torch.arange(len(x), device=x.device), real.sum(-1) - 1]


def mean(x: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    weights = real.to(x.dtype)
    return (weights[:, :, None] * x).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)  # a text may be all padding


def bert_features(body: BERTBody, tokens: Tensor, real: Tensor, segments: Tensor) -> Float[Tensor, "B T D"]:
    return body.features(tokens, real, segments)


def gpt_features(body: GPTBody, tokens: Tensor, _real: Tensor, _segments: Tensor) -> Float[Tensor, "B T D"]:
    """No padding mask is needed: padding is on the right, and no token attends to a later one."""
    return body.features(tokens)


BODIES: dict[str, Callable[[ClassifierConfig], tuple[nn.Module, Callable[..., Tensor]]]] = {
    "bert": lambda config: (BERTBody(config, config.segments), bert_features),
    "gpt": lambda config: (GPTBody(config), gpt_features),
}
POOLINGS: dict[str, Pooling] = {"first": first, "last": last, "mean": mean}


class Classifier(nn.Module):
    """Predicts the class of a text, or of several texts told apart by segments."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.body, self.features = BODIES[config.body](config)
        self.pool = POOLINGS[config.pooling]
        self.dropout = nn.Dropout(config.dropout)
        self.class_projection = nn.Linear(config.d_model, config.num_classes)

    def forward(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B C"]:
        """Logits of the classes; `real` is False for padding."""
        features = self.features(self.body, tokens, real, segments)
        return self.class_projection(self.dropout(self.pool(features, real)))

    def token_logits(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T C"]:
        """Logits of each token alone; without dropout, their mean is the logits of `mean` pooling."""
        return self.class_projection(self.dropout(self.features(self.body, tokens, real, segments)))


if __name__ == "__main__":
    sizes = ClassifierConfig(vocab_size=50, context=16, d_model=32, num_heads=4, num_layers=2, d_ff=128, num_classes=3)
    tokens = torch.arange(7)[None]
    logits = Classifier(sizes)(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))
    print("7 tokens, 3 classes -> logits", tuple(logits.shape))
