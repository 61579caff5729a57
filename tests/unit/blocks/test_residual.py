import pytest
import torch

from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.residual import PostNormResidual, PreNormResidual


def test_post_norm_normalises_the_sum_worked_by_hand():
    # the sub-layer gives (2, 10): the sum (3, 13) has mean 8 and deviation 5
    out = PostNormResidual(LayerNorm(2, eps=0.0))(torch.tensor([[[1.0, 3.0]]]), lambda _: torch.tensor([[[2.0, 10.0]]]))
    assert out.tolist() == [[[-1.0, 1.0]]]


def test_pre_norm_adds_the_sublayers_output_for_the_normalised_stream_worked_by_hand():
    # the norm of (1, 3) is (-1, 1); ten times that is added
    out = PreNormResidual(LayerNorm(2, eps=0.0))(torch.tensor([[[1.0, 3.0]]]), lambda x: 10 * x)
    assert out.tolist() == [[[-9.0, 13.0]]]


def test_in_post_norm_the_sublayers_input_is_the_stream_itself():
    inputs = []
    PostNormResidual(LayerNorm(2))(torch.tensor([[[1.0, 3.0]]]), lambda x: inputs.append(x) or x)
    assert inputs[0].tolist() == [[[1.0, 3.0]]]


def test_only_in_pre_norm_a_gradient_bypasses_the_norm():
    for residual, expected in ((PreNormResidual(LayerNorm(4)), 1.0), (PostNormResidual(LayerNorm(4)), 0.0)):
        x = torch.randn(1, 1, 4, requires_grad=True)
        residual(x, torch.zeros_like).sum().backward()
        # a norm's outputs always sum to zero, so it has no gradient for the sum
        torch.testing.assert_close(x.grad, torch.full((1, 1, 4), expected), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("residual", [PreNormResidual, PostNormResidual])
def test_dropout_applies_to_the_sublayers_output_in_training_only(residual: type):
    x, added = torch.randn(1, 100, 8), torch.ones(1, 100, 8)
    block = residual(torch.nn.Identity(), dropout=0.25)  # without a norm, a difference shows the addend
    difference = block(x, lambda _: added) - x
    kept = difference > 0.5
    torch.testing.assert_close(difference, kept * 4 / 3, atol=1e-5, rtol=0.0)
    assert abs(kept.float().mean() - 0.75) < 4 * (0.25 * 0.75 / 800) ** 0.5  # four standard deviations
    assert torch.equal(block.eval()(x, lambda _: added), x + added)
