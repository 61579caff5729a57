"""Models with many interfaces are recognised: their kind, their sizes, and how to call, step, pad and train them."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import masks, recognise
from clearformer.checks.recognise.plain_masks import MaskedCall
from clearformer.checks.subject import Subject
from clearformer.errors import CheckError

V, D, CONTEXT = 23, 8, 14
EXACT = 1e-5
"""float32 sums in another order differ by less than 1e-6 here"""


def attend(x: Tensor, y: Tensor, allowed: Tensor) -> Tensor:
    """One head without weights; `allowed` is [B or 1, T, S], True where a query may attend."""
    return x + F.softmax((x @ y.transpose(-1, -2) / D).masked_fill(~allowed, -1e9), dim=-1) @ y


def full(queries: int, keys: int) -> Tensor:
    return torch.ones(1, queries, keys, dtype=torch.bool)


def lower_triangle(length: int) -> Tensor:
    return full(length, length).tril()


class GPT(nn.Module):
    """Tokens to logits, with learned positions and a causal mask of its own."""

    def __init__(self, masked: bool = True) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.head = nn.Linear(D, V)
        self.masked = masked

    def logits(self, tokens: Tensor) -> Tensor:
        x, length = self.embed(tokens), tokens.shape[1]
        return self.head(attend(x, x, lower_triangle(length) if self.masked else full(length, length)))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))

    def forward(self, tokens: Tensor) -> Any:
        return self.logits(tokens)


def random_tokens(rows: int, length: int) -> Tensor:
    return torch.randint(V, (rows, length))


def logits_of(subject: Subject, *inputs: Tensor) -> Tensor:
    out = subject.call(subject.model, *inputs)
    return out[0] if isinstance(out, tuple) else out


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=EXACT, rtol=0)


def status(subject: Subject, check: str) -> str:
    return run_check(subject, CHECKS[check], seed=1).status


def test_a_subject_is_returned_unchanged():
    subject = Subject(GPT(), call=lambda model, tokens: model(tokens))
    assert recognise(subject) is subject


def test_a_plain_module_is_causal_with_the_sizes_of_its_embeddings():
    model = GPT()
    subject = recognise(model)
    assert (subject.kind, subject.vocab_size, subject.context, subject.name) == ("causal", V, CONTEXT, "GPT")
    tokens = random_tokens(2, 5)
    assert torch.equal(logits_of(subject, tokens), model(tokens))


def test_a_gpt_without_its_mask_is_still_causal_so_that_the_check_can_fail():
    subject = recognise(GPT(masked=False))
    assert subject.kind == "causal"
    assert status(subject, "masks.future") == "failed"


def test_a_given_kind_overrides_the_default():
    assert recognise(GPT(masked=False), kind="bidirectional").kind == "bidirectional"


def test_tokens_may_be_looked_up_without_an_embedding_module():
    table, positions = torch.randn(V, D), torch.randn(CONTEXT, D)

    def model(tokens: Tensor) -> Tensor:
        x = table[tokens] + positions[torch.arange(tokens.shape[1])]
        return attend(x, x, lower_triangle(tokens.shape[1])) @ torch.randn(D, 3)

    subject = recognise(model)
    assert (subject.vocab_size, subject.context) == (V, CONTEXT)  # and not 3, the width of the output


def test_the_maximal_length_is_found_by_trying():
    class Sinusoidal(GPT):
        def logits(self, tokens: Tensor) -> Tensor:
            assert tokens.shape[1] <= 37, "too long"
            return self.head(self.tokens(tokens))

    assert recognise(Sinusoidal()).context == 37


def test_a_model_without_a_limit_has_no_context():
    assert recognise(lambda tokens: F.one_hot(tokens, 5).float()).context is None


def test_declared_sizes_come_first():
    model = GPT()
    model.config = SimpleNamespace(vocab_size=20, block_size=9)
    subject = recognise(model)
    assert (subject.vocab_size, subject.context) == (20, 9)


class NanoGPT(GPT):
    """Only the last position's logits, unless there are targets."""

    ignored = -1

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        logits = self.logits(idx)
        if targets is None:
            return logits[:, [-1]], None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=self.ignored)


class WithIgnore100(NanoGPT):
    ignored = -100


@pytest.mark.parametrize("family", [NanoGPT, WithIgnore100])
def test_nanogpts_interface_gives_all_logits_and_a_loss_of_shifted_targets(family: type[NanoGPT]):
    model = family()
    subject = recognise(model)
    tokens = random_tokens(2, 6)
    assert_same(logits_of(subject, tokens), model.logits(tokens))
    labels = tokens.clone()
    labels[0, 3:] = -100
    log_p = model.logits(tokens).log_softmax(-1)
    predicted = [(0, t) for t in range(2)] + [(1, t) for t in range(5)]
    expected = -sum(log_p[b, t, tokens[b, t + 1]] for b, t in predicted) / len(predicted)
    assert_same(subject.loss(model, tokens, labels), expected)


class Cached(GPT):
    """A model with the interface of Hugging Face; the cache holds the vectors so far."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(
            vocab_size=V,
            max_position_embeddings=CONTEXT,
            pad_token_id=1,
            tie_word_embeddings=False,
            eos_token_id=[2, 3],
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: tuple[Tensor] | None = None,
        labels: Tensor | None = None,
        use_cache: bool = False,
    ) -> Any:
        past = torch.zeros(len(input_ids), 0, D) if past_key_values is None else past_key_values[0]
        positions = torch.arange(input_ids.shape[1])[None] + past.shape[1] if position_ids is None else position_ids
        x = self.tokens(input_ids) + self.positions(positions)
        y = torch.cat((past, x), dim=1)
        allowed = lower_triangle(y.shape[1])[:, past.shape[1] :]
        if attention_mask is not None:
            allowed = allowed & (attention_mask[:, None] == 1)
        logits = self.head(attend(x, y, allowed))
        loss = None if labels is None else F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return SimpleNamespace(logits=logits, loss=loss, past_key_values=(y,) if use_cache else None)


def test_a_model_with_the_interface_of_hugging_face_is_stepped_padded_and_trained():
    subject = recognise(Cached())
    assert (subject.reserved, subject.pad, subject.tied, subject.sides) == ((1, 2), 1, False, ("left", "right"))
    for check in ("batches.left-padding", "batches.right-padding", "cache.chunks", "cache.unequal", "loss.shift"):
        assert status(subject, check) == "passed", check


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.source, self.target, self.head = nn.Embedding(V, D), nn.Embedding(V + 2, D), nn.Linear(D, V)

    def run(self, source: Tensor, target: Tensor, visible: Tensor, allowed: Tensor) -> Tensor:
        memory, x = self.source(source), self.target(target)
        memory = attend(memory, memory, visible)
        return self.head(attend(attend(x, x, allowed), memory, visible))


class Masked(EncoderDecoder):
    """Accepts masks of one convention each."""

    def __init__(self, source_convention: masks.Convention, target_convention: masks.Convention) -> None:
        super().__init__()
        self.source_convention, self.target_convention = source_convention, target_convention

    def forward(self, src: Tensor, trg: Tensor, src_mask: Tensor, trg_mask: Tensor) -> Tensor:
        visible = interpret(src_mask, self.source_convention, 1)
        return self.run(src, trg, visible, interpret(trg_mask, self.target_convention, trg.shape[1]))


def interpret(mask: Tensor, convention: masks.Convention, queries: int) -> Tensor:
    """[B, T or 1, S], the allowed pairs of a mask, which must have exactly this convention."""
    assert mask.dim() == convention.rank, f"rank {convention.rank} expected, found {mask.dim()}"
    assert (mask.dtype == torch.bool) == convention.meaning.startswith("True")
    value_that_allows = {"True may attend": 1.0, "True hides": 0.0, "1 may attend": 1.0, "-inf is added": 0.0}
    allowed = mask.float() == value_that_allows[convention.meaning]
    if convention.rank == 4:
        allowed = allowed[:, 0]
    elif convention.rank == 2:
        allowed = allowed[None] if queries > 1 else allowed[:, None]
    assert allowed.shape[1] == queries
    return allowed


@pytest.mark.parametrize("meaning", masks.MEANINGS)
@pytest.mark.parametrize(("source_rank", "target_rank"), [(4, 4), (3, 3), (2, 2), (2, 4), (3, 4), (2, 3)])
def test_the_convention_of_an_encoder_decoders_masks_is_found_and_named(
    meaning: str, source_rank: int, target_rank: int
):
    convention = masks.Convention(meaning, source_rank, per_query=False)
    model = Masked(convention, masks.Convention(meaning, target_rank, per_query=True))
    subject = recognise(model)
    assert (subject.kind, subject.vocab_size, subject.context) == ("encoder-decoder", V, None)
    assert f"src_mask {convention.description}" in subject.name
    source, target = random_tokens(2, 7), random_tokens(2, 5)
    real = torch.arange(7) < torch.tensor([[7], [4]])
    expected = model.run(source, target, real[:, None], lower_triangle(5))
    assert_same(subject.padded(model, source, target, real, torch.ones(2, 5).bool()), expected)
    assert_same(logits_of(subject, source, target), model.run(source, target, full(1, 7), lower_triangle(5)))


class NeedsMask(GPT):
    """Hides what a mask of one convention hides, and nothing by itself."""

    def __init__(self, convention: masks.Convention) -> None:
        super().__init__()
        self.convention = convention

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x, queries = self.embed(tokens), tokens.shape[1] if self.convention.per_query else 1
        return self.head(attend(x, x, interpret(mask, self.convention, queries)))


@pytest.mark.parametrize("meaning", masks.MEANINGS)
@pytest.mark.parametrize("rank", [4, 3, 2])
@pytest.mark.parametrize(("kind", "per_query"), [("causal", True), ("bidirectional", False)])
def test_a_required_mask_is_passed_in_the_convention_of_the_model(meaning: str, rank: int, kind: Any, per_query: bool):
    convention = masks.Convention(meaning, rank, per_query)
    subject = recognise(NeedsMask(convention), kind=kind)
    assert subject.name == f"NeedsMask, called as model(tokens, mask {convention.description})"
    for check in ("masks.future", "masks.both-sides", "batches.right-padding"):
        assert status(subject, check) in ("passed", "does not apply")


class HidesPadding(GPT):
    """Causal by itself, with an optional padding mask."""

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        x, allowed = self.tokens(tokens), lower_triangle(tokens.shape[1])
        return self.head(attend(x, x, allowed if padding_mask is None else allowed & ~padding_mask[:, None]))


def test_an_optional_padding_mask_is_found():
    subject = recognise(HidesPadding())
    tokens, real = random_tokens(1, 5), torch.tensor([[True, True, False, True, True]])
    padded = subject.padded(subject.model, tokens, real)
    assert_same(padded[:, real[0]], subject.model(tokens[:, real[0]]))


class SaysWhatIsReal(GPT):
    """Its argument leaves no doubt, so that a mask which is ignored or turned round is a mistake."""

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Logits [B, T, V]."""
        return self.logits(tokens)


class TurnsItRound(SaysWhatIsReal):
    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        """Padding may be on the left."""
        hidden = torch.zeros_like(tokens).bool() if real is None else real
        return self.head((self.embed(tokens) * ~hidden[..., None]).cumsum(1))


class TellsWithWords(SaysWhatIsReal):
    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is 1 for a token and 0 for padding. With a mask that is added it raises an error."""
        return self.logits(tokens) if mask is None else self.logits(tokens) + 0 * self.tokens(mask.long()).sum()


def test_a_mask_is_known_by_what_the_documentation_says_of_it():
    assert isinstance(recognise(TellsWithWords()).padded, MaskedCall)


def test_a_mask_whose_name_leaves_no_doubt_is_passed_as_it_says_though_it_hides_nothing():
    tokens, real = torch.ones(2, 5).long(), torch.arange(5).expand(2, 5) < 3
    for family, sides in ((SaysWhatIsReal, ("right",)), (TurnsItRound, ("right", "left"))):
        subject = recognise(family())
        assert (type(subject.padded), subject.sides) == (MaskedCall, sides)
        torch.testing.assert_close(subject.padded(subject.model, tokens, real), subject.model(tokens, real))


class PadAware(EncoderDecoder):
    """Makes its masks from the padding token, as in many tutorials."""

    src_pad_idx = 1

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:
        return self.run(src, trg, (src != self.src_pad_idx)[:, None], lower_triangle(trg.shape[1]))


def test_an_encoder_decoder_that_recognises_padding_by_its_token_gets_that_token():
    subject = recognise(PadAware())
    assert (subject.pad, subject.reserved) == (1, (1,))
    source, target = torch.randint(2, V, (2, 7)), random_tokens(2, 5)
    real = torch.arange(7) < torch.tensor([[7], [4]])
    padded = subject.padded(subject.model, source, target, real, torch.ones(2, 5).bool())
    assert_same(padded[1:], subject.model(source[1:, :4], target[1:]))


class NeedsTargetMask(EncoderDecoder):
    """Hides the future only with a mask, in PyTorch's convention."""

    def forward(self, src: Tensor, tgt: Tensor, tgt_mask: Tensor | None = None) -> Tensor:
        allowed = full(tgt.shape[1], tgt.shape[1]) if tgt_mask is None else ~tgt_mask[None]
        return self.run(src, tgt, full(1, src.shape[1]), allowed)


def test_a_target_mask_is_passed_where_nothing_else_hides_the_future():
    subject = recognise(NeedsTargetMask())
    assert "tgt_mask [T, S], True hides" in subject.name
    assert status(subject, "masks.future") == "passed"


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")  # said of every nn.Transformer
@pytest.mark.parametrize("name", ["Transformer", "TransformerDecoder", "TransformerEncoder"])
def test_torchs_modules_read_vectors_and_the_batch_may_come_second(name: str):
    def make(**settings: Any) -> nn.Module:
        torch.manual_seed(1)
        if name == "Transformer":
            return nn.Transformer(D, 2, 1, 1, 16, **settings)
        layer = getattr(nn, f"{name}Layer")(D, 2, 16, **settings)
        return getattr(nn, name)(layer, 1, **({"enable_nested_tensor": False} if name.endswith("Encoder") else {}))

    first, second = recognise(make(batch_first=True).eval()), recognise(make(batch_first=False).eval())
    assert (first.width, first.vocab_size) == (D, None)
    x, source = torch.randn(2, 5, D), torch.randn(2, 7, D)
    inputs = (x,) if name == "TransformerEncoder" else (source, x)
    assert_same(logits_of(first, *inputs), logits_of(second, *inputs))
    assert status(first, "masks.future") == ("does not apply" if name == "TransformerEncoder" else "passed")


def test_torchs_encoder_gets_a_causal_mask_if_its_kind_is_causal():
    layer = nn.TransformerEncoderLayer(D, 2, 16, batch_first=True)
    subject = recognise(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), kind="causal")
    assert status(subject, "masks.future") == "passed"


@pytest.mark.parametrize(
    ("family", "kind"),
    [("gpt", "causal"), ("transformer", "encoder-decoder"), ("bert", "bidirectional"), ("classifier", "classifier")],
)
def test_this_projects_models_are_recognised(tiny, family: str, kind: str):
    subject = recognise(tiny(family))
    assert (subject.kind, subject.vocab_size, subject.context) == (kind, 11, 7)


def test_a_function_of_numpy_arrays_is_recognised():
    table = np.random.default_rng(0).normal(size=(V, 5))

    def model(tokens: Any) -> Any:
        assert isinstance(tokens, np.ndarray)
        return table[tokens].cumsum(1)

    subject = recognise(model)
    tokens = random_tokens(2, 5)
    assert np.array_equal(subject.call(model, tokens), model(tokens.numpy()))


def test_a_module_without_embeddings_reads_vectors():
    subject = recognise(nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 5)))
    assert (subject.width, subject.vocab_size) == (D, None)


def test_weights_mode_and_random_states_are_restored():
    model = GPT().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = torch.rand(1).item(), random.random(), np.random.rand()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    recognise(model)
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


class NeedsStart(GPT):
    config = None

    def forward(self, tokens: Tensor, start: int) -> Tensor:
        return tokens + start


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda tokens: tokens, "model(tokens), 8 tokens each: int64 [2, 8]"),
        (lambda tokens: {"a": tokens.float(), "b": tokens}, "a tensor of logits was expected, found dict"),
        (lambda tokens: tokens[:, 99], "IndexError"),
        (NeedsStart(), "missing 1 required positional argument: 'start'"),
        (lambda src, tgt, alpha: src + tgt + alpha, "call=lambda model, source, tokens: ..."),
    ],
)
def test_an_unrecognised_model_is_an_error_with_the_line_to_write(model: Any, words: str):
    with pytest.raises(CheckError) as message:
        recognise(model)
    assert words in str(message.value)
    assert "Subject(model, call=lambda model," in str(message.value)


class Preferences(nn.Module):
    """The loss of two answers, of which how it is called cannot be known."""

    def __init__(self) -> None:
        super().__init__()
        self.policy, self.reference = GPT(), GPT().requires_grad_(False)

    def forward(self, chosen: Tensor, rejected: Tensor, margin: Tensor) -> Tensor:
        return (self.policy(chosen) - self.reference(rejected)).mean() + margin


def test_of_a_model_that_cannot_be_called_the_language_model_inside_is_checked_and_it_is_said():
    subject = recognise(Preferences())
    assert subject.name == "Preferences.policy"
    assert isinstance(subject.model, GPT)
    assert subject.ways[0] == "only its part `policy` is checked: how the whole is called was not found"


def test_a_model_on_another_device_is_refused():
    with pytest.raises(CheckError, match=r"a model on the CPU was expected.*return model\.cpu\(\)"):
        recognise(nn.Linear(2, 2, device="meta"))


class OptionalTarget(nn.Module):
    """An encoder-decoder whose target may be left out, with the number of real tokens of each source between."""

    pad_idx = 1

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.head = nn.Linear(D, V)

    def embed(self, tokens: Tensor) -> Tensor:
        """Positions count real tokens."""
        real = tokens != self.pad_idx
        return self.tokens(tokens) + self.positions((real.cumsum(1) - 1).clamp(min=0))

    def forward(self, src: Tensor, src_lengths: Tensor, decoder_input_ids: Tensor | None = None) -> Tensor:
        assert len(src_lengths) == len(src)
        assert decoder_input_ids is not None
        x, source = self.embed(decoder_input_ids), self.embed(src)
        x = attend(x, x, lower_triangle(x.shape[1]))
        return self.head(attend(x, source, (src != self.pad_idx)[:, None]))


def test_target_may_have_a_default_and_stand_behind_lengths():
    subject = recognise(OptionalTarget())
    assert subject.kind == "encoder-decoder"
    assert subject.context == CONTEXT
    assert "src, decoder_input_ids, src_lengths" in subject.name
