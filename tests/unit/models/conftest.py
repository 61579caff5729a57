"""Every choice that a model has, once, and several at a time where they might meet."""

import pytest

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
    "multi-query": {"num_heads": 4, "num_kv_heads": 1},
    "grouped-query": {"num_heads": 4, "num_kv_heads": 2},
    "window": {"window": 3},
    "alibi-window": {"positions": "alibi", "window": 2},
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
