"""Masks, order and numbers, and the recording of attention: a correct model passes, and each bug is named."""
# ruff: noqa: N803  # T and E are the letters of clearformer/shapes.py

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.probe.attention import record_attention
from clearformer.checks.probe.probe import Probe
from clearformer.checks.subject import Kind, Subject

V, D, H, E = 23, 16, 2, 8
EXACT = 1e-6  # a scale is a slope fitted in float64 to float32 scores; 3e-8 seen


class Tiny(nn.Module):
    """A causal model in which tests replace methods by wrong ones."""

    norm_order = "pre"

    def __init__(self, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.positions = nn.Embedding(64, D)
        self.layers = nn.ModuleList(
            nn.ModuleDict({"norm": self.make_norm(), "qkv": nn.Linear(D, 3 * D), "out": nn.Linear(D, D)})
            for _ in range(layers)
        )
        self.norm = self.make_norm()
        self.head = nn.Linear(D, V)

    def make_norm(self) -> nn.Module:
        return nn.LayerNorm(D)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        x = self.add_positions(self.embedding(tokens))
        for number, layer in enumerate(self.layers):
            x = x + self.attend(layer["norm"](x), layer, self.allowed(tokens.shape[1], number, real))
        return self.head(self.norm(x))

    def add_positions(self, x: Tensor) -> Tensor:
        return x + self.positions.weight[: x.shape[1]]

    def allowed(self, T: int, layer: int, real: Tensor | None) -> Tensor:  # noqa: ARG002
        causal = torch.ones(T, T).tril().bool()
        return causal if real is None else causal & real[:, None, None, :]

    def attend(self, x: Tensor, layer: nn.Module, allowed: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (H, E)).transpose(1, 2) for t in layer["qkv"](x).chunk(3, -1))
        q, k, v = self.rotate(q, k, v)
        return layer["out"](self.attention(q, k, v, allowed).transpose(1, 2).flatten(2))

    def rotate(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return q, k, v

    def attention(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        return self.weights(self.scores(q, k), allowed) @ v

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(-1, -2) / math.sqrt(E)

    def weights(self, scores: Tensor, allowed: Tensor) -> Tensor:
        return masked(scores, allowed).softmax(-1).nan_to_num()


def with_(**methods: Callable[..., object]) -> type[Tiny]:
    """A subclass with these methods."""
    return type("Planted", (Tiny,), methods)


def check(name: str, model: nn.Module, **subject: object) -> Outcome:
    fields = {"call": lambda model, tokens: model(tokens), "vocab_size": V, "context": 32} | subject
    return run_check(Subject(model, **fields), CHECKS[name], seed=1)  # type: ignore[arg-type]


def masked(scores: Tensor, allowed: Tensor, fill: float = -math.inf) -> Tensor:
    return scores.masked_fill(~allowed, fill)


def padded(model: nn.Module, tokens: Tensor, real: Tensor) -> Tensor:
    return model(tokens, real)


def causal(T: int) -> Tensor:
    return torch.ones(T, T).tril().bool()


def full(T: int) -> Tensor:
    return torch.ones(T, T).bool()


def angles(T: int) -> Tensor:
    """[T, E/2]"""
    return torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, E, 2) / E)


def halves(x: Tensor, sign: float = 1.0, start: int = 0) -> Tensor:
    """Rotary positions, by halves: (a, b) -> (a cos - b sin, a sin + b cos)."""
    angle = sign * angles(x.shape[-2] + start)[start:].to(x.dtype)
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)


def neighbours(x: Tensor) -> Tensor:
    """The same rotation by neighbours, as complex numbers."""
    rotated = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(
        torch.ones(()), angles(x.shape[-2])
    )
    return torch.view_as_real(rotated).flatten(-2)


def mixed_layouts(x: Tensor) -> Tensor:
    """The cosines and sines of halves with the pairs of neighbours."""
    angle = angles(x.shape[-2]).repeat(1, 2)
    swapped = torch.stack((-x[..., 1::2], x[..., ::2]), -1).flatten(-2)
    return x * angle.cos() + swapped * angle.sin()


def turning(rotate: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> type[Tiny]:
    """Without added positions; `rotate(q, k, v)` returns what goes into attention."""
    return with_(add_positions=lambda _, x: x, rotate=lambda _, q, k, v: rotate(q, k, v))


def rotary(rotate: Callable[[Tensor], Tensor]) -> type[Tiny]:
    return turning(lambda q, k, v: (rotate(q), rotate(k), v))


def softmax_by_hand(_: Tiny, scores: Tensor, allowed: Tensor) -> Tensor:
    scores = masked(scores, allowed, torch.finfo(scores.dtype).min)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return weights / weights.sum(-1, keepdim=True)


NAMES = [name for name in CHECKS if name.split(".")[0] in ("masks", "order", "numbers")]
CORRECT = {
    "learned positions": Tiny,
    "rotary, halves": rotary(halves),
    "rotary, neighbours": rotary(neighbours),
    "rotary from another start": rotary(lambda x: halves(x, start=5)),
    "fused": with_(attention=lambda _, q, k, v, allowed: F.scaled_dot_product_attention(q, k, v, allowed)),
    "window": with_(allowed=lambda _, n, *__: causal(n).triu(-3)),
    "softmax by hand": with_(weights=softmax_by_hand),
    "queries scaled first": with_(scores=lambda _, q, k: (q / math.sqrt(E)) @ k.transpose(-1, -2)),
}


@pytest.mark.parametrize("kind", CORRECT)
@pytest.mark.parametrize("name", NAMES)
def test_a_correct_model_passes(name: str, kind: str):
    model = CORRECT[kind]()
    needs_padding = {"padded": padded} if kind in ("learned positions", "rotary, halves") else {}
    outcome = check(name, model, norm_order="pre", **needs_padding)
    assert outcome.status in ("passed", "does not apply"), outcome
    if outcome.status == "does not apply":
        excused = {"masks.both-sides": "bidirectional", "masks.empty-row": "padding", "order.rotary": "added"}
        excused |= {"order.position-ids": "positions"}
        excused |= {"numbers.half": "float16"} if kind == "rotary, neighbours" else {}  # which has no complex numbers
        assert name in excused, outcome
        assert excused[name] in outcome.case


def test_a_bidirectional_model_passes():
    assert (
        check("masks.both-sides", with_(allowed=lambda _, n, *__: full(n))(), kind="bidirectional").status == "passed"
    )


def adds_mean_of_sequence(model: Tiny, tokens: Tensor) -> Tensor:
    return Tiny.forward(model, tokens) + model.head(model.embedding(tokens).mean(1, keepdim=True))


def adds_mean_of_real_tokens(model: Tiny, tokens: Tensor, real: Tensor | None = None) -> Tensor:
    counted = torch.ones_like(tokens) if real is None else real.long()
    mean = (model.embedding(tokens) * counted[..., None]).sum(1) / counted.sum(1, keepdim=True)
    return Tiny.forward(model, tokens, real) + model.head(mean)[:, None]


def naive_softmax(_: Tiny, scores: Tensor, allowed: Tensor) -> Tensor:
    weights = scores.exp() * allowed
    return weights / weights.sum(-1, keepdim=True)


def nan_replaced(model: Tiny, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """0/0 in the row without keys, with the NaN replaced in the output."""
    weights = (model.scores(q, k).exp() * allowed).clone()
    weights = weights / weights.sum(-1, keepdim=True)
    return torch.where(weights.isnan(), 0.0, weights) @ v


class UnbiasedNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) * self.weight + self.bias


def post_norm(model: Tiny, tokens: Tensor) -> Tensor:
    x = model.add_positions(model.embedding(tokens))
    for layer in model.layers:
        x = layer["norm"](x + model.attend(x, layer, causal(tokens.shape[1])))
    return model.head(x)


def without_residual(model: Tiny, tokens: Tensor) -> Tensor:
    x = model.add_positions(model.embedding(tokens))
    for layer in model.layers:
        x = model.attend(layer["norm"](x), layer, causal(tokens.shape[1]))
    return model.head(model.norm(x))


def large_products(_: Tiny, q: Tensor, k: Tensor) -> Tensor:
    """Scaled down after the product; a NaN becomes 0 in `Tiny.weights`."""
    return (1e3 * q) @ (1e3 * k).transpose(-1, -2) / (1e6 * math.sqrt(E))


def widened(model: Tiny) -> None:
    Tiny.__init__(model)
    model.wide, model.narrow = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)


def without_activation(model: Tiny, x: Tensor, layer: nn.Module, allowed: Tensor) -> Tensor:
    return Tiny.attend(model, x, layer, allowed) + model.narrow(model.wide(x))


WITHOUT_SCALE = with_(scores=lambda _, q, k: q @ k.transpose(-1, -2))
POST_NORM = with_(forward=post_norm, __init__=lambda model: Tiny.__init__(model, layers=3))
BUGS: list[tuple[str, str, type[Tiny]]] = [
    ("masks.future", "no-mask", with_(allowed=lambda _, n, *__: full(n))),
    ("masks.future", "diagonal", with_(allowed=lambda _, n, *__: full(n).tril(1))),
    ("masks.future", "transposed", with_(allowed=lambda _, n, *__: causal(n).T)),
    ("masks.future", "after-softmax", with_(weights=lambda _, scores, allowed: scores.softmax(-1) * allowed)),
    ("masks.future", "some-layers", with_(allowed=lambda _, n, layer, __: causal(n) if layer == 0 else full(n))),
    ("masks.future", "some-heads", with_(allowed=lambda _, n, *__: torch.stack((causal(n), full(n))))),
    ("masks.future", "some-lengths", with_(allowed=lambda _, n, *__: causal(n) if n < 20 else full(n))),
    ("masks.future", "leak", with_(forward=adds_mean_of_sequence)),
    ("masks.gradient", "leak", with_(forward=adds_mean_of_sequence)),
    ("masks.scaled", "finite-mask", with_(weights=lambda _, s, allowed: (s - 1e4 * ~allowed).softmax(-1))),
    ("masks.past", "self-unseen", with_(allowed=lambda _, n, *__: full(n).tril(-1))),
    ("masks.past", "only-itself", with_(allowed=lambda _, n, *__: torch.eye(n).bool())),
    ("masks.past", "not-added", with_(attend=lambda *args: 0 * Tiny.attend(*args))),
    (
        "masks.past",
        "past-unused",
        with_(allowed=lambda _, n, *__: causal(n) & (torch.arange(n) != 3) | torch.eye(n).bool()),
    ),
    (
        "order.matters",
        "no-order",
        with_(add_positions=lambda _, x: x, __init__=lambda model: Tiny.__init__(model, layers=1)),
    ),
    (
        "order.positions",
        "positions-by-row",
        with_(add_positions=lambda model, x: x + model.positions.weight[: len(x), None]),
    ),
    (
        "order.positions",
        "repeated",
        with_(add_positions=lambda model, x: x + model.positions.weight[torch.arange(x.shape[1]) // 2]),
    ),
    (
        "order.positions",
        "repeated",
        with_(
            add_positions=lambda model, x: x + model.positions.weight[torch.arange(x.shape[1]).clamp(max=7)],
            attention=lambda _, q, k, v, allowed: F.scaled_dot_product_attention(q, k, v, allowed),
        ),
    ),
    (
        "order.positions",
        "context-too-long",
        with_(add_positions=lambda model, x: x + model.positions(torch.arange(33, x.shape[1] + 33))),
    ),
    ("order.balance", "positions-drowned", with_(add_positions=lambda model, x: Tiny.add_positions(model, 1e3 * x))),
    ("order.balance", "tokens-drowned", with_(add_positions=lambda model, x: Tiny.add_positions(model, x / 1e2))),
    ("order.rotary", "not-a-rotation", rotary(mixed_layouts)),
    ("order.rotary", "one-turned", turning(lambda q, k, v: (halves(q), k, v))),
    ("order.rotary", "opposite-turns", turning(lambda q, k, v: (halves(q), halves(k, -1), v))),
    ("order.rotary", "not-relative", turning(lambda q, k, v: (halves(q), halves(k / 2, 2.0), v))),
    ("order.rotary", "values-turned", turning(lambda q, k, v: (halves(q), halves(k), halves(v)))),
    ("numbers.finite", "not-finite", with_(weights=lambda _, scores, allowed: scores.sqrt() * allowed)),
    ("numbers.finite", "probabilities", with_(forward=lambda model, tokens: Tiny.forward(model, tokens).softmax(-1))),
    ("numbers.finite", "constant", with_(forward=lambda model, tokens: model.head.bias.expand(*tokens.shape, V))),
    (
        "numbers.float64",
        "half-precision",
        with_(weights=lambda _, scores, allowed: masked(scores, allowed).bfloat16().softmax(-1).to(scores)),
    ),
    ("numbers.float64", "rounded", with_(weights=lambda _, s, allowed: masked((s + 1e5) - 1e5, allowed).softmax(-1))),
    ("numbers.half", "overflow", with_(scores=large_products, weights=lambda _, *args: masked(*args).softmax(-1))),
    ("numbers.half", "lost", with_(scores=large_products)),
    ("numbers.epsilon", "epsilon-too-large", with_(make_norm=lambda _: nn.LayerNorm(D, eps=9.0))),
    ("numbers.residual", "no-residual", with_(forward=without_residual)),
    ("numbers.activation", "linear", with_(__init__=widened, attend=without_activation)),
    ("numbers.large", "overflow", with_(weights=naive_softmax)),
    ("numbers.scale", "no-scale", WITHOUT_SCALE),
    ("numbers.scale", "by-model-width", with_(scores=lambda _, q, k: q @ k.transpose(-1, -2) / math.sqrt(D))),
    ("numbers.scale", "twice", with_(scores=lambda _, q, k: q @ k.transpose(-1, -2) / E)),
    ("numbers.scale", "inverse", with_(scores=lambda _, q, k: q @ k.transpose(-1, -2) * math.sqrt(E))),
    ("numbers.scale", "other-scale", with_(scores=lambda _, q, k: q @ k.transpose(-1, -2) / 5)),
    ("numbers.softmax", "over-queries", with_(weights=lambda _, scores, allowed: masked(scores, allowed).softmax(-2))),
    ("numbers.softmax", "over-heads", with_(weights=lambda _, s, allowed: masked(s, allowed, -1e9).softmax(1))),
    ("numbers.norm-variance", "unbiased", with_(make_norm=lambda _: UnbiasedNorm(D))),
    ("numbers.norm-order", "other-order", POST_NORM),
]


@pytest.mark.parametrize(("name", "cause", "model"), BUGS, ids=[f"{name}-{cause}" for name, cause, _ in BUGS])
def test_each_bug_is_caught_and_named(name: str, cause: str, model: type[Tiny]):
    outcome = check(name, model(), norm_order="pre")
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis
    assert outcome.measured > outcome.tolerance


@pytest.mark.parametrize(
    ("cause", "model"),
    [
        ("not-finite", with_(weights=lambda _, scores, allowed: masked(scores, allowed).softmax(-1))),
        ("gradient-not-finite", with_(attention=nan_replaced)),
        ("divided-by-none", with_(forward=adds_mean_of_real_tokens)),
    ],
)
def test_nan_of_a_row_that_is_all_padding_is_caught_in_the_output_or_its_gradient(cause: str, model: type[Tiny]):
    outcome = check("masks.empty-row", model(), padded=padded)
    assert (outcome.status, outcome.cause) == ("failed", cause)


@pytest.mark.parametrize(("allowed", "words"), [(causal, "follows"), (lambda n: causal(n).T, "came before")])
def test_the_side_that_a_bidirectional_model_does_not_see_is_named(allowed: Callable[[int], Tensor], words: str):
    outcome = check("masks.both-sides", with_(allowed=lambda _, n, *__: allowed(n))(), kind="bidirectional")
    assert (outcome.status, outcome.cause) == ("failed", "one-side")
    assert words in outcome.diagnosis


def test_a_window_on_both_sides_is_recognised():
    def window(n: int) -> Tensor:
        return (torch.arange(n)[:, None] - torch.arange(n)).abs() <= 2

    outcome = check("masks.both-sides", with_(allowed=lambda _, n, *__: window(n))(), kind="bidirectional")
    assert (outcome.status, outcome.notes) == ("passed", ("a window of 4 tokens on both sides of each",))
    no_window = with_(allowed=lambda _, n, *__: window(n) | (torch.arange(n) == 5))
    assert check("masks.both-sides", no_window(), kind="bidirectional").status == "failed"


@pytest.mark.parametrize("kind", ["causal", "bidirectional", "classifier"])
def test_a_mask_of_padding_is_judged_by_scores_that_can_be_reached(kind: Kind):
    def pad_by(number: float) -> type[Tiny]:
        everywhere = {} if kind == "causal" else {"allowed": lambda _, n, __, real: full(n) & real[:, None, None, :]}
        pooled = {"forward": lambda model, *given: Tiny.forward(model, *given)[:, 0]} if kind == "classifier" else {}
        return with_(weights=lambda _, s, allowed: masked(s, allowed, number).softmax(-1), **everywhere, **pooled)

    def outcome(number: float) -> Outcome:
        call = {"call": lambda model, tokens: model(tokens, torch.ones_like(tokens).bool()), "padded": padded}
        return check("masks.scaled", pad_by(number)(), kind=kind, **call)

    assert outcome(-1e4 if kind == "causal" else -1e3).cause == "finite-mask"
    assert outcome(-1e9).status == "passed"


def test_scale_may_stand_in_the_initial_values_of_the_queries():
    model = WITHOUT_SCALE()
    for layer in model.layers:
        nn.init.normal_(layer["qkv"].weight, std=D**-0.5)
        nn.init.zeros_(layer["qkv"].bias)
        layer["qkv"].weight.data[:D] /= math.sqrt(E)
    assert check("numbers.scale", model).status == "passed"


@pytest.mark.parametrize(("setting", "status"), [("residual_multiplier", "passed"), ("residual_dropout", "failed")])
def test_scores_may_be_divided_by_the_width_of_a_head_where_settings_are_multipliers(setting: str, status: str):
    model = with_(scores=lambda _, q, k: q @ k.transpose(-1, -2) / E)()
    model.config = {setting: 0.5}
    assert check("numbers.scale", model).status == status


def test_scale_of_normalised_queries_and_keys_is_free():
    unit = with_(scores=lambda _, q, k: 10 * F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2))
    assert check("numbers.scale", unit()).status == "does not apply"


def test_a_sum_of_products_may_be_divided_by_the_root_of_their_number():
    class Untied(Tiny):
        """Positions attend to positions, in two ways, and share the scale with the tokens."""

        summed = True

        def add_positions(self, x: Tensor) -> Tensor:
            return x

        def scores(self, q: Tensor, k: Tensor) -> Tensor:
            places = self.positions.weight[: q.shape[-2]]
            return (q @ k.transpose(-1, -2) + (2 * places @ places.T if self.summed else 0)) / math.sqrt(3 * E)

    assert check("numbers.scale", Untied()).status == "passed"
    Untied.summed = False
    assert check("numbers.scale", Untied()).cause == "other-scale"


def test_positions_are_not_weighed_where_each_row_is_computed_alone():
    one_by_one = with_(forward=lambda model, tokens: torch.cat([Tiny.forward(model, row[None]) for row in tokens]))
    outcome = check("order.balance", one_by_one())
    assert (outcome.status, outcome.case) == ("does not apply", "the rows of a batch are not computed together")


def test_a_mask_that_stays_float32_is_no_loss_of_precision():
    """PyTorch's fused attention misreads it beside float64, with which the model itself has nothing to do."""

    def attention(_: Tiny, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=torch.zeros(allowed.shape).where(allowed, -math.inf))

    assert check("numbers.float64", with_(attention=attention)()).status == "passed"


def test_a_declared_scale_is_enforced():
    assert check("numbers.scale", WITHOUT_SCALE(), scale=1.0).status == "passed"
    assert check("numbers.scale", Tiny(), scale=1.0).status == "failed"


def test_the_layout_of_rotary_positions_is_reported():
    assert check("order.rotary", rotary(halves)()).notes == ("rotary positions, layout: halves",)
    assert check("order.rotary", rotary(neighbours)()).notes == ("rotary positions, layout: neighbours",)


@pytest.mark.parametrize("turn", [halves, neighbours])
def test_turned_queries_may_be_scaled_by_element(turn: Callable[[Tensor], Tensor]):
    """As by the weight of a norm after the rotation."""
    sizes = torch.linspace(0.5, 2, E)
    model = turning(lambda q, k, v: (turn(q) * sizes, turn(k) * sizes, v))()
    assert check("order.rotary", model).status == "does not apply"
    mixed = turning(lambda q, k, v: (mixed_layouts(q) * sizes, mixed_layouts(k) * sizes, v))()
    assert check("order.rotary", mixed).cause == "not-a-rotation"


def test_a_norm_order_that_is_not_declared_is_reported():
    assert "pre-norm" in check("numbers.norm-order", Tiny()).notes[0]
    assert "post-norm" in check("numbers.norm-order", POST_NORM()).notes[0]


def test_norms_of_queries_and_keys_may_begin_with_less_than_their_epsilon():
    model = with_(
        make_norm=lambda _: nn.Identity(),
        add_positions=lambda model, x: model.first(Tiny.add_positions(model, x)),
        rotate=lambda model, q, k, v: (model.of_queries(q), model.of_keys(k), v),
    )(layers=1)
    model.first, model.of_queries, model.of_keys = nn.LayerNorm(D), nn.LayerNorm(E), nn.LayerNorm(E)
    nn.init.normal_(model.layers[0]["qkv"].weight, std=1e-4)
    nn.init.zeros_(model.layers[0]["qkv"].bias)
    assert check("numbers.epsilon", model).status == "passed"


class GatedNorm(nn.LayerNorm):
    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        return super().forward(x) * gate.sigmoid()  # type: ignore[union-attr]  # as of Qwen3-Next, it is always given


@pytest.mark.parametrize("name", ["numbers.norm-variance", "numbers.epsilon"])
def test_a_norm_that_takes_a_gate_is_left_out(name: str):
    model = Tiny()
    model.gated = GatedNorm(D)
    assert check(name, model).status == "passed"


def test_the_norm_order_of_a_model_without_norms_cannot_be_checked():
    outcome = check("numbers.norm-order", with_(make_norm=lambda _: nn.Identity())())
    assert (outcome.status, outcome.case) == ("does not apply", "no module was found that may be a norm")


def probe_of(model: nn.Module) -> Probe:
    return Probe(Subject(model.eval(), call=lambda model, tokens: model(tokens), vocab_size=V), seed=1)


@pytest.mark.parametrize("kind", CORRECT)
def test_every_attention_is_recorded_with_its_scale(kind: str):
    probe = probe_of(CORRECT[kind]())
    found = record_attention(probe, probe.inputs(2))
    assert len(found) == 2
    for attention in found:
        assert attention.weights.shape == (2, H, 12, 12)
        assert attention.dim == -1
        assert attention.scale == pytest.approx(1 / math.sqrt(E), rel=EXACT)


LAYOUTS = {
    "time first": ("tbhe,sbhe->tsbh", (1, 0, 2, 3), "tsbh,sbhe->tbhe", 1),
    "heads beside time": ("bthe,bshe->bths", (0, 1, 2, 3), "bths,bshe->bthe", -1),
    "heads last": ("bthe,bshe->btsh", (0, 1, 2, 3), "btsh,bshe->bthe", 2),
}
"""scores of queries and keys, the axes of both [B, T, H, E], the sum over keys, and the axis of the softmax"""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_attention_is_recorded_alike_however_its_axes_are_laid_out(layout: str):
    scores, axes, mixed, dim = LAYOUTS[layout]

    class LaidOut(Tiny):
        def attention(self, q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2).permute(axes) for x in (q, k, v))
            causal = allowed.view([allowed.shape[0] if letter in "ts" else 1 for letter in scores[-4:]])
            weights = masked(torch.einsum(scores, q, k) / math.sqrt(E), causal).softmax(dim)
            return torch.einsum(mixed, weights, v).permute(axes).transpose(1, 2)

    torch.manual_seed(0)
    plain, laid_out = Tiny(), LaidOut()
    laid_out.load_state_dict(plain.state_dict())
    found = [record_attention(probe, probe.inputs(2)) for probe in map(probe_of, (plain, laid_out))]
    for one, other in zip(*found, strict=True):
        assert other.dim == -1
        torch.testing.assert_close(other.scores, one.scores)
        torch.testing.assert_close(other.weights, one.weights)
        torch.testing.assert_close(other.products.sum(), one.products.sum())
        assert other.scale == pytest.approx(1 / math.sqrt(E), rel=EXACT)


def test_a_product_with_a_weight_is_not_recorded_as_attention():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Parameter(torch.randn(V, D)), nn.Parameter(torch.randn(D, V))

        def forward(self, tokens: Tensor) -> Tensor:
            return (self.table[tokens] @ self.out).softmax(-1)

    probe = probe_of(Gated())
    assert record_attention(probe, probe.inputs(2)) == []


def test_attention_inside_a_torch_layer_is_recorded():
    layer = nn.TransformerEncoderLayer(D, H, 32, batch_first=True, dropout=0.0)
    mask = nn.Transformer.generate_square_subsequent_mask(12)
    probe = Probe(Subject(layer.eval(), call=lambda model, x: model(x, src_mask=mask), width=D), seed=1)
    (attention,) = record_attention(probe, probe.inputs(2))
    assert attention.scale == pytest.approx(1 / math.sqrt(E), rel=EXACT)
    assert attention.applied.triu(1).max() == 0.0
    assert attention.applied.sum(-1).sub(1).abs().max() < EXACT
