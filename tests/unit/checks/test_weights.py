"""Copies of a model compute with their own weights alone."""

import torch
from torch import nn

from clearformer.checks.weights import independent_copy


class TiedByAFunction(nn.Module):
    """The output reads the embedding by a lambda that holds the model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.to_logits = lambda x, *, factor=1.0: factor * x @ self.embedding.weight.t()


def test_functions_that_a_model_holds_read_the_weights_of_its_copy():
    model, vector = TiedByAFunction(), torch.ones(1, 3)
    copied = independent_copy(model)
    nn.init.zeros_(copied.embedding.weight)
    assert not copied.to_logits(vector).any()
    assert model.to_logits(vector).any()
