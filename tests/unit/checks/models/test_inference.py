"""Training mode and evaluation are compared where no random number is drawn."""

import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise


class SeldomLeftOut(nn.Module):
    """A path that is left out once in a million calls, and scaled in all others."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(19, 8), nn.Linear(8, 19)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x).cumsum(1)
        if self.training:
            x = x * (torch.rand(len(x), 1, 1) >= 1e-6) / 0.9
        return self.head(x)


def test_a_path_that_is_left_out_at_random_is_not_compared():
    assert run_check(recognise(SeldomLeftOut()), CHECKS["inference.mode"], seed=1).status == "does not apply"
