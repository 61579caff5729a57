import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.norm import EPS, LayerNorm, RMSNorm, layer_norm, rms_norm

# float64 sums of up to 64 terms in another order: 2.0e-13 seen over 3,000 draws. In float32 the draws where two values
# are nearly equal would need 1e-3, since there a gradient is large
KERNEL_TOLERANCE = 1e-12


def test_layer_norm_of_two_values_worked_by_hand():
    # mean 2, biased variance 1 (unbiased it would be 2): the vector (1, 3) becomes (-1, 1)
    assert LayerNorm(2, eps=0.0)(torch.tensor([[[1.0, 3.0]]])).tolist() == [[[-1.0, 1.0]]]


def test_rms_norm_of_two_values_worked_by_hand():
    # the mean square of (1, 7) is 25, its root 5
    out = RMSNorm(2, eps=0.0)(torch.tensor([[[1.0, 7.0]]]))
    torch.testing.assert_close(out, torch.tensor([[[0.2, 1.4]]]))


def test_weight_scales_and_bias_shifts():
    norm = LayerNorm(2, eps=0.0)
    norm.load_state_dict({"weight": torch.tensor([2.0, 3.0]), "bias": torch.tensor([10.0, 20.0])})
    assert norm(torch.tensor([[[1.0, 3.0]]])).tolist() == [[[8.0, 23.0]]]


def test_eps_is_added_to_the_variance_and_not_to_its_root():
    # variance 1 and eps 3 make a root of 2
    assert LayerNorm(2, eps=3.0)(torch.tensor([[[1.0, 3.0]]])).tolist() == [[[-0.5, 0.5]]]
    assert RMSNorm(2, eps=3.0)(torch.tensor([[[1.0, 1.0]]])).tolist() == [[[0.5, 0.5]]]


@given(d_model=st.integers(2, 64), tokens=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_kernels_equal_the_formulas(assert_equivalent, d_model: int, tokens: int, seed: int):
    torch.manual_seed(seed)
    x, weight, bias = (torch.randn(*shape, d_model).double() for shape in ((2, tokens), (), ()))
    layer, plain, rms = LayerNorm(d_model), LayerNorm(d_model, bias=False), RMSNorm(d_model)
    for module, formula, weights in (
        (layer, lambda x, w, b: layer_norm(x, w, b, EPS), {"weight": weight, "bias": bias}),
        (plain, lambda x, w: layer_norm(x, w, None, EPS), {"weight": weight}),
        (rms, lambda x, w: rms_norm(x, w, EPS), {"weight": weight}),
    ):

        def kernel(x, *values, module=module, names=tuple(weights)):
            return functional_call(module, dict(zip(names, values, strict=True)), x)

        assert_equivalent(kernel, formula, x, *weights.values(), tolerance=KERNEL_TOLERANCE)


both_norms = pytest.mark.parametrize("norm", [LayerNorm(8), RMSNorm(8)])


@both_norms
def test_no_token_depends_on_another(dependents, norm: torch.nn.Module):
    assert dependents(norm, torch.randn(1, 5, 8), 3) == [3]


@both_norms
def test_a_vector_of_zeros_stays_zeros_with_finite_gradients(norm: torch.nn.Module):
    x = torch.zeros(1, 1, 8, requires_grad=True)
    out = norm(x)
    out.sum().backward()
    assert out.abs().max() == 0.0
    assert x.grad.isfinite().all()


def test_only_rms_norm_depends_on_the_mean():
    x = torch.randn(1, 1, 8)
    torch.testing.assert_close(LayerNorm(8)(x + 5.0), LayerNorm(8)(x), atol=1e-4, rtol=0.0)  # 5 costs three bits
    assert (RMSNorm(8)(x + 5.0) - RMSNorm(8)(x)).abs().max() > 0.1


def test_rms_norm_takes_bfloat16_and_returns_the_dtype_of_its_weights():
    # the kernel warns if they differ, and a warning fails a test
    x = torch.randn(2, 3, 8).bfloat16()
    assert torch.equal(RMSNorm(8)(x), RMSNorm(8)(x.float()))


def test_without_bias_there_is_no_parameter_for_it():
    assert [name for name, _ in LayerNorm(8, bias=False).named_parameters()] == ["weight"]
    assert [name for name, _ in RMSNorm(8).named_parameters()] == ["weight"]
