"""Ablating and patching do what removing weights, or swapping texts, does; afterwards the model is as it was."""

import copy

import pytest
import torch

from clearformer.blocks.encoder import Encoder, EncoderLayer
from clearformer.errors import InspectionError
from clearformer.inspection.ablate import ablate
from clearformer.inspection.patch import patch
from clearformer.inspection.places import places
from clearformer.inspection.record import record

FAMILIES = ("gpt", "transformer", "bert", "classifier")
# sums in another order, in float64: at most 1e-14 of 1 + the value
ROUNDING = 1e-12
GELU = {"activation": "gelu"}  # no neuron of it is zero, as one of ReLU may be
GEGLU = {"activation": "geglu", "num_kv_heads": 1, "norm_order": "post"}


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=ROUNDING, rtol=ROUNDING)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["heads", "neurons", "attention_output", "feed_forward"])
def test_ablating_to_zero_is_the_model_without_those_weights(family: str, kind: str, tiny, inputs_of):
    for choices in (GELU, GELU | {"norm_order": "pre"}, GEGLU):
        model = tiny(family, **choices).double()
        inputs = inputs_of(model)
        with torch.inference_mode():
            whole = model(*inputs)
            for name, module in places(model)[kind].items():
                without = copy.deepcopy(model)
                weights = without.get_submodule(name.removesuffix(".core"))
                if kind == "heads":
                    weights.output_projection.weight.data[:, 4:] = 0.0  # the second of two heads of width 4
                elif kind == "neurons":
                    weights.weight.data[:, 5] = 0.0
                else:
                    last = weights.linear2 if kind == "feed_forward" else weights.output_projection
                    last.weight.data.zero_(), last.bias.data.zero_()
                place = {"heads": (name, 1), "neurons": (name, 5)}.get(kind, name)
                with ablate(model, place):
                    ablated = model(*inputs)
                assert close(ablated, without(*inputs)), f"{place} of {choices}"
                assert not close(ablated, whole), f"{place} of {choices}"
                assert module is model.get_submodule(name)
            assert torch.equal(model(*inputs), whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mean_is_over_real_tokens_only_or_over_the_rows_of_each_position(family: str, tiny, inputs_of):
    model = tiny(family).double()
    rows = [inputs_of(model, [row]) for row in (0, 1)]
    lengths = [int(row[-1].sum()) if family == "transformer" else 6 for row in rows]
    if family in ("bert", "classifier"):
        lengths = [int(row[1].sum()) for row in rows]
    name = next(reversed(places(model)["feed_forward"]))
    found = []
    for row, length in zip(rows, lengths, strict=True):
        with record(model, "feed_forward") as trace:
            model(*row)
        found.append(trace["feed_forward"][name][0, :length])
    means = {
        False: torch.cat(found).mean(0).expand(1, 6, -1),
        True: torch.stack([torch.stack([one[t] for one in found if t < len(one)]).mean(0) for t in range(6)])[None],
    }
    for by_position, expected in means.items():
        with ablate(model, name, mean=inputs_of(model), by_position=by_position), record(model) as trace:
            model(*rows[0])
        assert close(trace["feed_forward"][name], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_patching_the_whole_stream_gives_the_other_text_s_output(family: str, tiny, inputs_of):
    model = tiny(family).double()
    clean, corrupted = inputs_of(model, [0], seed=1), inputs_of(model, [0], seed=2)
    stack = model.body.encoder if family == "classifier" else getattr(model, "decoder", None) or model.encoder
    (prefix,) = (name for name, module in model.named_modules() if module is stack)
    with torch.inference_mode():
        with record(model) as trace:
            expected = model(*clean)
        before = model(*corrupted)
        assert not close(before, expected)
        names = [f"{prefix}.norm"] if family == "transformer" else [f"{prefix}.layers.0", f"{prefix}.norm"]
        for name in names:  # a translator's decoder also reads the source
            with patch(model, trace, name):
                assert torch.equal(model(*corrupted), expected)
        if family == "classifier":
            return
        with patch(model, trace, f"{prefix}.norm", positions=[2, 4]):
            patched = model(*corrupted)
        assert torch.equal(patched[:, [2, 4]], expected[:, [2, 4]])
        assert torch.equal(patched[:, [0, 1, 3, 5]], before[:, [0, 1, 3, 5]])


def test_patching_a_head_and_a_neuron_changes_them_alone(tiny, inputs_of):
    model = tiny("gpt")
    clean, corrupted = inputs_of(model, seed=1), inputs_of(model, seed=2)
    core, linear2 = "decoder.layers.1.attention.core", "decoder.layers.1.feed_forward.linear2"
    with record(model) as other:
        model(*clean)
    with record(model) as own:
        model(*corrupted)
    with patch(model, other, (core, 1), (linear2, 3), positions=[4]), record(model) as trace:
        model(*corrupted)
    heads = own["heads"][core].clone()
    heads[:, 1, 4] = other["heads"][core][:, 1, 4]
    assert torch.equal(trace["heads"][core], heads)
    changed = (trace["neurons"][linear2] != other["neurons"][linear2])[:, 4]
    assert changed.sum(-1).tolist() == [15, 15]  # of 16 neurons; their input differs, as the head does
    with patch(model, own, core, linear2):
        assert torch.equal(model(*corrupted), model(*corrupted))


def test_hooks_are_removed_even_when_the_model_fails(tiny):
    model = tiny("gpt")
    linear2 = "decoder.layers.0.feed_forward.linear2"
    with pytest.raises(RuntimeError, match="inside"), ablate(model, "decoder.layers.1", linear2), record(model):
        raise RuntimeError("inside")
    with pytest.raises(InspectionError), ablate(model, linear2, "nowhere"):
        pass
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("place", "positions", "words"),
    [
        ("decoder.layer.0", None, r"such as decoder\.layers\.\d.*; found 'decoder.layer.0'"),
        (("decoder.layers.0.attention.core", 2), None, r"a number from 0 to 1 was expected in .*, found 2"),
        (("decoder.layers.0.feed_forward.linear2", -1), None, r"a number from 0 to 15 was expected in .*, found -1"),
        (
            ("decoder.layers.0.feed_forward", 0),
            None,
            r"a number is of a head .* or a neuron .*, found .*; leave it out",
        ),
        ("decoder.layers.0", [6], r"positions from 0 to 5 were expected for decoder.layers.0, found 6"),
        ("decoder.layers.0", [-1], r"positions from 0 to 5 were expected for decoder.layers.0, found -1"),
    ],
)
def test_a_place_that_the_model_lacks_is_refused(place, positions, words: str, tiny, inputs_of):
    model = tiny("gpt")
    with pytest.raises(InspectionError, match=words), ablate(model, place, positions=positions):
        model(*inputs_of(model))


def test_a_trace_that_does_not_fit_is_refused(tiny, inputs_of):
    model = tiny("gpt")
    (tokens,) = inputs_of(model)
    with record(model, "stream") as trace:
        pass
    with pytest.raises(InspectionError, match="run the model inside `record`"), patch(model, trace, "decoder.norm"):
        pass
    with record(model, "stream") as trace:
        model(tokens[:, :5])
    with pytest.raises(InspectionError, match=r"a kind that was recorded was expected \(stream\), found .feed"):
        patch(model, trace, "decoder.layers.0.feed_forward").__enter__()
    words = r"values of shape \(2, 6, 8\) were expected for decoder.norm, found \(2, 5, 8\); give texts of the same"
    with pytest.raises(InspectionError, match=words), patch(model, trace, "decoder.norm"):
        model(tokens)
    with patch(model, trace, "decoder.norm", positions=[4]):
        model(tokens)
    with pytest.raises(InspectionError, match=r"a kind of activation was expected \(stream, .*\), found 'head'"):
        record(model, "head").__enter__()


def test_a_mean_needs_a_family_to_know_what_padding_is(tiny):
    layer: EncoderLayer = tiny("gpt").decoder.layers[0]
    stack, x = Encoder([layer], torch.nn.Identity()), torch.randn(1, 3, 8)
    with ablate(stack, "layers.0.feed_forward"), record(stack, "feed_forward") as trace:
        stack(x)
    assert not trace["feed_forward"]["layers.0.feed_forward"].any()
    with (
        pytest.raises(InspectionError, match="a Transformer, GPT, BERT or Classifier of this package was expected"),
        ablate(stack, "layers.0.feed_forward", mean=[x]),
    ):
        pass
