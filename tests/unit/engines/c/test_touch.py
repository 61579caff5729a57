"""Touches: what is kept is what PyTorch's hooks see, and changes are those of changed weights or other texts."""

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from clearformer.config import BERTConfig, TrainConfig
from clearformer.data.batches import TextBatch
from clearformer.engines.c.decoding import make_decoder, make_target_decoder
from clearformer.engines.c.model import Model, load_weights, logits_of, weights_of
from clearformer.engines.c.touch import Put, Scale, changed, keep, keeping
from clearformer.engines.c.training import accumulate_gradients, summed_loss
from clearformer.errors import PromptError
from clearformer.inspection.record import record
from clearformer.models import build

pytestmark = pytest.mark.usefixtures("compiled")

Inputs = tuple[NDArray[Any], ...]
MODERN = {"norm": "rms", "norm_order": "pre", "activation": "swiglu", "positions": "rotary", "num_kv_heads": 1}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt": ("gpt", {}),
    "gpt, modern": ("gpt", {**MODERN, "head_width": 6, "qk_norm": True, "window": 3, "bias": False}),
    "gpt, post-norm, ALiBi": ("gpt", {"norm_order": "post", "positions": "alibi", "activation": "squared_relu"}),
    "bert": ("bert", {"segments": 2}),
    "bert, modern": ("bert", {**MODERN, "window": 3}),
    "classifier": ("classifier", {"positions": "alibi"}),
    "classifier on a GPT, no norms": ("classifier", {"body": "gpt", "pooling": "last", "norm": "none"}),
    "transformer": ("transformer", {"positions": "relative"}),
    "transformer, modern": ("transformer", {**MODERN, "head_width": 6, "qk_norm": True, "activation": "geglu"}),
}
TOKENS = np.random.default_rng(1).integers(4, 11, (2, 7))

# float32 sums in another order, relative to the largest number of a place: 9e-7 seen, a few times that elsewhere
TOLERANCE = 1e-5


def inputs_of(family: str, tokens: NDArray[Any] = TOKENS) -> Inputs:
    """Inputs of texts of which the second is shorter."""
    real = np.arange(tokens.shape[1]) < [[tokens.shape[1]], [2]]
    if family == "gpt":
        return (tokens,)
    return (tokens, tokens[:, 1:], real, real[:, 1:]) if family == "transformer" else (tokens, real, tokens % 2)


@pytest.fixture(scope="session")
def in_c() -> Callable[[Any], Model]:
    """The same model in C."""

    def convert(model: Any) -> Model:
        result = Model(model.config, 1)
        load_weights(result, build.weights_of(model))
        return result

    return convert


def seen_by_hooks(model: nn.Module, inputs: Inputs) -> dict[str, torch.Tensor]:
    """What each module reads and returns in PyTorch, by C's names."""
    seen: dict[str, torch.Tensor] = {}

    def see(name: str, read: Sequence[Any], out: torch.Tensor) -> None:
        seen[name] = out
        if read:
            seen[f"{name}.input"] = read[0]
        if name.endswith(".core"):
            seen.update({f"{name}.{what}": x for what, x in zip(("queries", "keys", "values"), read, strict=False)})

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in model.named_modules():
            hook = module.register_forward_hook(lambda _, read, out, name=name: see(name, read, out))
            hooks.callback(hook.remove)
        trace = hooks.enter_context(record(model))
        model(*map(torch.from_numpy, inputs))
    return seen | {f"{name}.weights": weights for name, weights in trace.attention.items()}


@pytest.mark.parametrize("length", [7, 3])  # 3: the keys are read where they lie
@pytest.mark.parametrize("case", CASES)
def test_what_is_kept_is_what_hooks_of_pytorch_see(tiny, in_c, case: str, length: int):
    family, changes = CASES[case]
    model, inputs = tiny(family, **changes), inputs_of(family, TOKENS[:, :length])
    kept, seen = keep(in_c(model), inputs), seen_by_hooks(model, inputs)
    for name, x in kept.items():
        expected = seen[name].numpy()
        np.testing.assert_allclose(x, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_everything_that_has_heads_or_joins_the_stream_is_kept(tiny, in_c, case: str):
    family, changes = CASES[case]
    model = tiny(family, **changes)
    kept = keep(in_c(model), inputs_of(family))
    endings = ("attention", ".core", ".feed_forward", "_residual", "encoder", "decoder", ".linear1")
    assert {name for name, _ in model.named_modules() if name.endswith(endings)} <= kept.keys()


@pytest.mark.parametrize("case", CASES)
def test_keeping_everything_does_not_change_a_bit_of_the_logits(tiny, in_c, case: str):
    family, changes = CASES[case]
    model, inputs = in_c(tiny(family, **changes)), inputs_of(family)
    last = "class_projection" if family == "classifier" else "output_projection"
    np.testing.assert_array_equal(keep(model, inputs)[last], logits_of(model, inputs))


@pytest.mark.parametrize(
    ("case", "change", "zeroed"),
    [
        ("gpt", Scale("decoder.layers.1.attention.core", heads=range(1, 2)), {"output_projection.weight": 4}),
        ("bert", Scale("encoder.layers.0.attention.core", heads=range(1, 2)), {"output_projection.weight": 4}),
        ("bert", Scale("encoder.layers.0.attention.input"), {"qkv_projection.weight": 0}),  # the stream stays
        ("transformer, modern", Scale("decoder.layers.0.cross_attention.core", heads=range(1, 2)),
         {"output_projection.weight": 6}),
        ("classifier", Scale("body.encoder.layers.1.feed_forward.linear2.input", columns=range(9, 16)),
         {"linear2.weight": 9}),
        ("gpt, post-norm, ALiBi", Scale("decoder.layers.0.feed_forward"), {"linear2.weight": 0, "linear2.bias": 0}),
    ],
)  # fmt: skip
def test_what_is_scaled_to_zero_has_no_weights(tiny, in_c, case: str, change: Scale, zeroed: dict[str, int]):
    family, changes = CASES[case]
    model, inputs = in_c(tiny(family, **changes)), inputs_of(family)
    with changed(model, [change]):
        found = logits_of(model, inputs)
    assert np.abs(found - logits_of(model, inputs)).max() > TOLERANCE
    sublayer = re.sub(r"(attention|feed_forward).*", r"\1", change.name)
    for name, first in zeroed.items():  # columns from there on
        weights_of(model)[f"{sublayer}.{name}"][..., first:] = 0
    np.testing.assert_array_equal(found, logits_of(model, inputs))


@pytest.mark.parametrize("case", CASES)
def test_another_text_s_embeddings_give_its_logits(tiny, in_c, case: str):
    family, changes = CASES[case]
    model, inputs = in_c(tiny(family, **changes)), inputs_of(family)
    other = (TOKENS[::-1].copy(), *inputs[1:])
    kept = keep(model, other)
    name = next(name for name in kept if name.endswith("coder.input"))
    with changed(model, [Put(name, kept[name])]):
        np.testing.assert_array_equal(logits_of(model, inputs), logits_of(model, other))


def test_one_token_of_one_text_is_put_into_all_texts(tiny, in_c):
    model = in_c(tiny("gpt", norm_order="pre"))
    name, (first, _) = "decoder.layers.1.feed_forward_residual", logits_of(model, (TOKENS,))
    kept = keep(model, (TOKENS,), [name])[name][:1]  # of the same batch, since fewer rows may be rounded otherwise
    with changed(model, [Put(name, kept, tokens=range(2, 3))]):
        found = logits_of(model, (TOKENS,))[1]
    expected = logits_of(model, (TOKENS,))[1]
    expected[2] = first[2]  # after the last layer, tokens do not meet
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("length", [7, 3])
def test_heads_read_the_weights_that_a_touch_leaves(tiny, in_c, length: int):
    model, core = in_c(tiny("gpt", num_kv_heads=1)), "decoder.layers.0.attention.core"
    cut = Scale(f"{core}.weights", 0.5, heads=range(1, 2), tokens=range(1, 3), columns=range(1))
    before = keep(model, (TOKENS[:, :length],))
    with changed(model, [cut]):
        after = keep(model, (TOKENS[:, :length],))
    weights = before[f"{core}.weights"]
    weights[:, 1, 1:3, 0] *= 0.5
    np.testing.assert_array_equal(after[f"{core}.weights"], weights)
    np.testing.assert_allclose(after[core], weights @ before[f"{core}.values"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("length", [7, 3])
def test_zeros_are_kept_where_a_query_may_not_attend(tiny, in_c, length: int):
    model, name = in_c(tiny("gpt")), "decoder.layers.0.attention.core.weights"
    with keeping(model, (2, length, 0), [name]) as kept:
        kept[name].fill(7)
        logits_of(model, (TOKENS[:, :length],))
    np.testing.assert_array_equal(kept[name] > 0, np.broadcast_to(np.tri(length), kept[name].shape))


CHANGES = {
    "gpt": [Scale(f"decoder.layers.0.attention.core{what}", 0.5, tokens=range(1, 5))
            for what in ("", ".queries", ".keys", ".values", ".weights")],
    "transformer": [Scale(f"decoder.layers.0.cross_attention.core{what}", 0.5, tokens=range(1, 5))
                    for what in ("", ".queries", ".keys", ".values", ".weights")],
}  # fmt: skip


@pytest.mark.parametrize("case", ["gpt", "gpt, modern", "transformer", "transformer, modern"])
def test_with_a_cache_changes_and_what_is_kept_are_those_without(tiny, in_c, case: str):
    family, changes = CASES[case]
    model, rows, kept = in_c(tiny(family, **changes)), [], []
    for cached in (True, False):
        with changed(model, CHANGES[family]), keeping(model, (2, 7, 7)) as found:
            if family == "gpt":
                decoder = make_decoder(model, [[5, 6], [7, 8]], cached=cached)
            else:
                decoder = make_target_decoder(model, TOKENS, cached=cached, max_length=7)
            while len(decoder.rows[0]) < 7:
                decoder.append(decoder.next_logits().argmax(-1).tolist())
        rows.append(decoder.rows)
        kept.append(found)
    assert rows[0] == rows[1]
    for name, x in kept[1].items():
        np.testing.assert_allclose(kept[0][name], x, rtol=0, atol=TOLERANCE * np.abs(x).max(), err_msg=name)


def test_a_loss_is_that_of_the_changed_model_which_is_not_trained(tiny, in_c):
    model, batch = in_c(tiny("gpt")), TextBatch(TOKENS[:, :-1], TOKENS[:, 1:])
    loss = summed_loss(model, batch)
    with changed(model, [Scale("decoder")]):
        assert summed_loss(model, batch) == pytest.approx(TOKENS[:, 1:].size * np.log(11))  # all logits are 0
        with pytest.raises(PromptError, match="training was expected without changes"):
            accumulate_gradients(model, [batch], TrainConfig(), seed=1)
    assert summed_loss(model, batch) == loss


STREAM = "encoder.layers.0.attention_residual"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            Scale("encoder.layers.0.atention"),
            r"found 'encoder.layers.0.atention'; nearest are encoder.layers.0.attention",
        ),
        (
            Scale(STREAM, columns=range(7, 9)),
            r"columns within range\(8\) of .*residual were expected, found range\(7, 9",
        ),
        (Scale(STREAM, heads=range(1, 2)), r"heads within range\(1\)"),
        (Scale(STREAM, tokens=range(3, 3)), r"tokens from 0 on"),
        (Put(STREAM, np.zeros((1, 5, 7), np.float32)), r"values \[B, T, 8\] of .* were expected, found \[1, 5, 7\]"),
        (Put(STREAM, np.zeros((1, 5, 8), np.float32), tokens=range(6)), r"tokens within range\(5\)"),
        (Put(STREAM, np.zeros((3, 5, 8), np.float32)), r"2 rows to keep or put in were expected, .* found 3"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(change: Scale | Put, words: str):
    config = BERTConfig(vocab_size=11, context=7, d_model=8, num_heads=2, num_layers=1, d_ff=16)
    model = Model(config, 1)
    with pytest.raises(PromptError, match=words), changed(model, [change]):
        logits_of(model, inputs_of("bert"))
    assert model.touches == []
