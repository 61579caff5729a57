"""A loss of yes and no: of several labels a text, and of one number a token."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.recognise import recognise

V, D = 40, 16
bce = F.binary_cross_entropy_with_logits


class Body(nn.Module):
    """Vectors [B, T, D] that do not depend on padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.positions = nn.Embedding(V, D), nn.Embedding(32, D)
        self.layer = nn.TransformerEncoderLayer(D, 2, 32, 0.0, batch_first=True)

    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return self.layer(x, src_key_padding_mask=~real & real.any(1, keepdim=True))


class SeveralLabels(nn.Module):
    """(loss or 0, logits [B, 6])."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.body, self.head, self.mistake = Body(), nn.Linear(D, 6), mistake

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None):
        real = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool()
        logits = self.head((self.body(input_ids, real) * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(1))
        if labels is None:
            return 0, logits
        given = logits.sigmoid() if self.mistake == "two-sigmoids" else logits
        return bce(given, labels, reduction="sum" if self.mistake == "summed" else "mean"), logits


class Cells(nn.Module):
    """{logits [B, T], loss}: the mean over tokens, or with the mistake over padding too."""

    def __init__(self, mistake: str = "") -> None:
        super().__init__()
        self.body, self.head, self.mistake = Body(), nn.Linear(D, 1), mistake

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None):
        real = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool()
        logits = self.head(self.body(input_ids, real))[..., 0]
        if labels is None:
            return {"logits": logits}
        counted = torch.ones_like(logits) if self.mistake else real.float()
        losses = bce(logits, labels.float(), reduction="none") * counted
        return {"logits": logits, "loss": losses.sum() / counted.sum()}


def found_in(model: nn.Module) -> Outcome:
    return run_check(recognise(model), CHECKS["loss.binary"], seed=1)


@pytest.mark.parametrize("kind", [SeveralLabels, Cells])
def test_a_loss_of_the_logits_alone_passes(kind: type[nn.Module]):
    assert found_in(kind()).status == "passed"


@pytest.mark.parametrize(
    ("kind", "mistake"), [(SeveralLabels, "two-sigmoids"), (SeveralLabels, "summed"), (Cells, "padding-counted")]
)
def test_a_mistake_is_named(kind: type[nn.Module], mistake: str):
    outcome = found_in(kind(mistake))
    assert (outcome.status, outcome.cause) == ("failed", mistake)


def test_labels_that_are_classes_are_not_judged():
    class Classes(SeveralLabels):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None):
            logits = super().forward(input_ids, attention_mask)[1]
            return logits if labels is None else (F.cross_entropy(logits, labels), logits)

    assert found_in(Classes()).status == "does not apply"
