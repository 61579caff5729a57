"""A tagger's labels are classes, of which there are fewer than tokens, and its loss is found all the same."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.recognise import recognise

V, D, TAGS = 40, 16, 5
LOSSES = {
    "mean": F.cross_entropy,
    "sum": lambda logits, labels: F.cross_entropy(logits, labels, reduction="sum"),
    "weights": lambda logits, labels: F.cross_entropy(logits, labels, torch.arange(1.0, TAGS + 1)),
}


class Tagger(nn.Module):
    """(loss, logits [B, T, 5]) with labels, and the logits without."""

    def __init__(self, loss: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loss, self.embedding, self.positions = loss, nn.Embedding(V, D), nn.Embedding(32, D)
        self.layer, self.head = nn.TransformerEncoderLayer(D, 2, 32, 0.0, batch_first=True), nn.Linear(D, TAGS)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        logits = self.head(self.layer(self.embedding(input_ids) + self.positions.weight[: input_ids.shape[1]]))
        if labels is None:
            return logits
        return LOSSES[self.loss](logits.flatten(0, 1), labels.flatten()), logits


def found_in(loss: str) -> Outcome:
    return run_check(recognise(Tagger(loss)), CHECKS["loss.shift"], seed=1)


def test_the_mean_over_all_tags_passes():
    assert found_in("mean").status == "passed"


def test_a_sum_over_tags_is_named():
    assert (found_in("sum").status, found_in("sum").cause) == ("failed", "summed")


def test_a_loss_with_weights_of_the_tags_is_not_judged():
    assert found_in("weights").status == "does not apply"
