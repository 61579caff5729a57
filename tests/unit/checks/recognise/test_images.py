"""A classifier of images is recognised, and its patches stand for tokens."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.images import Patches

D, CLASSES, EDGE, SIDE = 8, 3, 2, 4


class ViT(nn.Module):
    """One attention among the patches of an image [B, 1, 8, 8]."""

    def __init__(self, has_positions: bool = True, drops: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.head = nn.Conv2d(1, D, EDGE, EDGE), nn.Linear(D, CLASSES)
        self.positions = nn.Parameter(torch.randn(1, SIDE * SIDE, D)) if has_positions else 0.0
        self.drops = drops

    def forward(self, img: Tensor) -> Tensor:
        x = self.patches(img).flatten(2).mT + self.positions
        x = F.dropout(x, 0.1) if self.drops else x
        return self.head((x + F.scaled_dot_product_attention(x, x, x)).tanh().mean(1))


class OfFlatPatches(ViT):
    """Cuts the patches out itself."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Linear(EDGE * EDGE, D)

    def forward(self, img: Tensor) -> Tensor:
        flat = F.unfold(img, EDGE, stride=EDGE).mT
        return self.head((self.patches(flat) + self.positions).tanh().mean(1))


def test_tokens_are_laid_out_row_by_row_and_missing_patches_are_zero():
    patches = Patches(channels=1, edge=2, side=2)
    model = nn.Linear(1, 1)
    whole, part = patches.images(model, torch.tensor([[5, 6, 7, 8]])), patches.images(model, torch.tensor([[5, 6]]))
    assert whole.shape == (1, 1, 4, 4)
    torch.testing.assert_close(part[:, :, :2], whole[:, :, :2])
    assert part[:, :, 2:].abs().max() == 0.0
    of_six = patches.images(model, torch.tensor([[6]]))
    torch.testing.assert_close(of_six[0, 0, :2, :2], whole[0, 0, :2, 2:])  # the same patch, one place to the right


def test_a_classifier_of_images_is_recognised_with_its_number_of_patches():
    for model in (ViT(), OfFlatPatches()):
        subject = recognise(model)
        assert (subject.kind, subject.context) == ("classifier", SIDE * SIDE)
        assert subject.call(model, torch.zeros(5, 7, dtype=torch.int64)).shape == (5, CLASSES)


def test_dropout_in_evaluation_and_missing_positions_are_found_in_images():
    assert run_check(recognise(ViT()), CHECKS["order.matters"], seed=1).status == "passed"
    without = run_check(recognise(ViT(has_positions=False)), CHECKS["order.matters"], seed=1)
    assert (without.status, without.cause) == ("failed", "no-order")
    drops = run_check(recognise(ViT(drops=True)), CHECKS["learning.dropout"], seed=1)
    assert (drops.status, drops.cause) == ("failed", "dropout-in-evaluation")
