"""Every setting of a model, alone and in combinations that might interact; which tokens may affect which outputs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

LLAMA = {
    "positions": "rotary",
    "activation": "swiglu",
    "num_heads": 4,
    "num_kv_heads": 2,
    "norm": "rms",
    "norm_order": "pre",
    "bias": False,
    "tie_embeddings": False,
}
VARIANTS: dict[str, dict[str, object]] = {
    f"{positions}-{order}": {"positions": positions, "norm_order": order}
    for positions in ("sinusoidal", "learned")
    for order in ("pre", "post")
} | {
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "relative": {"positions": "relative"},
    "multi-query": {"num_heads": 4, "num_kv_heads": 1},
    "grouped-query": {"num_heads": 4, "num_kv_heads": 2},
    # products of widths that fill no vectors are rounded otherwise in other rows of a batch
    "wide-heads": {"head_width": 16},
    "heads-that-do-not-divide": {"num_heads": 3, "head_width": 16, "positions": "rotary"},
    "window": {"window": 3},
    "alibi-window": {"positions": "alibi", "window": 2},
    "relative-window": {"positions": "relative", "window": 2},
    "qk-norm": {"qk_norm": True},
    "ngrams": {"ngram_buckets": 13},
    "ngrams-rotary": {"ngram_buckets": 13, "positions": "rotary"},
    "logit-cap": {"logit_cap": 3.0},
    "swiglu": {"activation": "swiglu"},
    "squared-relu": {"activation": "squared_relu"},
    "rms": {"norm": "rms"},
    "untied": {"tie_embeddings": False},
    "no-bias": {"bias": False},
    "llama-style": LLAMA,
    "all-at-once": LLAMA
    | {"activation": "squared_relu", "window": 3, "qk_norm": True, "ngram_buckets": 13, "logit_cap": 3.0},
}


@pytest.fixture(scope="session", params=VARIANTS.values(), ids=VARIANTS.keys())
def variant(request: pytest.FixtureRequest) -> dict[str, object]:
    return request.param


@pytest.fixture(scope="session")
def influence() -> Callable[..., Tensor]:
    """[p, t]: the largest change of the output at position t when the token at position p is replaced."""

    def measure(function: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
        replaced = torch.where(torch.eye(len(tokens)).bool(), (tokens + 1) % 11, tokens)
        out = function(torch.cat((tokens[None], replaced)))
        assert out.isfinite().all()
        return (out[1:] - out[:1]).abs().amax(-1)

    return measure


@pytest.fixture(scope="session")
def in_reach() -> Callable[..., Tensor]:
    """[p, t]: whether the token at p may affect the output at t: through windows, and two positions on by n-grams."""

    def find(config, length: int, *, causal: bool) -> Tensor:
        distance = torch.arange(length) - torch.arange(length)[:, None]
        windows = config.num_layers * (config.window - 1) if config.window else length
        return (distance <= windows + 2 * bool(config.ngram_buckets)) & (distance >= (0 if causal else -windows))

    return find
