"""BERT equals torch.nn's encoder between its embeddings and head; grouped-query attention equals torch's."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.blocks.attention import ScaledDotProductAttention

# float64 sums in another order, through two layers and a head: 6.2e-16 seen, relative to 1 + the value
TOLERANCE = 1e-12
# prefixes of the parameters of torch's layer, and ours
PARTS = {
    "self_attn.in_proj_": "attention.qkv_projection.",
    "self_attn.out_proj.": "attention.output_projection.",
    "linear1.": "feed_forward.linear1.",
    "linear2.": "feed_forward.linear2.",
    "norm1.": "attention_residual.norm.",
    "norm2.": "feed_forward_residual.norm.",
}


def torch_encoder(model: nn.Module) -> nn.TransformerEncoder:
    """torch's encoder with the weights of ours."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double()
    unpaired = dict(model.encoder.named_parameters())
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            _, index, rest = name.split(".", 2)
            prefix = next(part for part in PARTS if rest.startswith(part))
            parameter.copy_(unpaired.pop(f"layers.{index}.{PARTS[prefix]}{rest.removeprefix(prefix)}"))
    assert not unpaired
    return encoder


def features_of_torch(model: nn.Module, tokens: Tensor, real: Tensor, segments: Tensor) -> Tensor:
    x = F.embedding(tokens, model.embedding.weight) + model.positions.weight[: tokens.shape[1]]
    x = x + F.embedding(segments, model.segments.weight)
    x = F.layer_norm(x, x.shape[-1:], model.embedding_norm.weight, model.embedding_norm.bias)
    return torch_encoder(model)(x, src_key_padding_mask=~real)


@pytest.mark.parametrize("lengths", [[7, 7], [7, 3]])
def test_bert_equals_torchs_encoder_between_its_embeddings_and_its_head(tiny, lengths: list[int]):
    model = tiny("bert").double()
    tokens, segments = torch.randint(11, (2, 7)), torch.randint(2, (2, 7))
    real = torch.arange(7) < torch.tensor(lengths)[:, None]
    x = features_of_torch(model, tokens, real, segments)
    x = F.gelu(F.linear(x, model.transform.weight, model.transform.bias))
    x = F.layer_norm(x, x.shape[-1:], model.transform_norm.weight, model.transform_norm.bias)
    expected = x @ model.embedding.weight.T + model.output_projection.bias
    torch.testing.assert_close(model(tokens, real, segments)[real], expected[real], atol=TOLERANCE, rtol=TOLERANCE)


def test_a_classifier_on_bert_equals_torchs_encoder_and_a_linear_layer_on_its_first_vector(tiny):
    model = tiny("classifier", segments=2, num_classes=3).double()
    tokens, segments = torch.randint(11, (2, 7)), torch.randint(2, (2, 7))
    real = torch.arange(7) < torch.tensor([[7], [3]])
    x = features_of_torch(model.body, tokens, real, segments)[:, 0]
    expected = F.linear(x, model.class_projection.weight, model.class_projection.bias)
    torch.testing.assert_close(model(tokens, real, segments), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_grouped_query_attention_equals_torchs(causal: bool, groups: int):
    q, (k, v) = torch.randn(2, 4, 5, 6).double(), torch.randn(2, 2, groups, 5, 6).double()
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None, None, None]
    lower = torch.ones(5, 5, dtype=torch.bool).tril() if causal else torch.tensor(True)
    core = ScaledDotProductAttention(causal=causal)
    for ours, theirs in ((None, lower.expand(5, 5)), (mask, mask & lower)):
        expected = F.scaled_dot_product_attention(q, k, v, theirs, enable_gqa=True)
        torch.testing.assert_close(core(q, k, v, ours), expected, atol=TOLERANCE, rtol=TOLERANCE)
