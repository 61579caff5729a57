import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.embedding import TokenEmbedding, token_embedding

# a product with one-hot rows adds zeros only, its gradient up to 12 float32 numbers in another order: 8.8e-7 seen over
# 3,000 draws
KERNEL_TOLERANCE = 1e-5


def test_the_vector_of_a_token_is_its_row_times_the_root_of_the_width():
    embedding = TokenEmbedding(3, 4)
    embedding.load_state_dict({"weight": torch.arange(12.0).view(3, 4)})
    assert embedding(torch.tensor([[2, 0]])).tolist() == [[[16, 18, 20, 22], [0, 2, 4, 6]]]


def test_with_scale_one_the_vector_is_the_row():
    embedding = TokenEmbedding(3, 4, scale=1.0)
    assert torch.equal(embedding(torch.tensor([[2]]))[0, 0], embedding.weight[2])


@given(vocab=st.integers(1, 9), d_model=st.integers(1, 16), seed=st.integers(0, 2**31))
def test_looking_up_equals_the_product_with_one_hot_rows(assert_equivalent, vocab: int, d_model: int, seed: int):
    torch.manual_seed(seed)
    tokens, weight = torch.randint(vocab, (3, 4)), torch.randn(vocab, d_model)
    embedding = TokenEmbedding(vocab, d_model)
    assert_equivalent(
        lambda w: functional_call(embedding, {"weight": w}, tokens),
        lambda w: token_embedding(tokens, w, d_model**0.5),
        weight,
        tolerance=KERNEL_TOLERANCE,
    )


def test_scaled_embeddings_have_unit_variance_at_first():
    vectors = TokenEmbedding(1000, 64)(torch.arange(1000)[None])
    # the standard deviation of 64,000 draws is known to 1 / sqrt(2 · 64,000) = 0.3 %; four times that
    assert vectors.std().item() == pytest.approx(1.0, abs=0.012)
