"""Models whose axes, outputs or inputs are arranged otherwise than [B, T] and [B, T, V]."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.experiment import Experiment
from clearformer.checks.recognise.losses import find
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.errors import CheckError

V, D, CONTEXT, START = 19, 8, 12, 1


class Body(nn.Module):
    """Vectors [B, T, D] of tokens that see their past."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, D, padding_idx=0), nn.Embedding(CONTEXT, D)
        self.head = nn.Linear(D, V)

    def features(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        y = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = y + F.softmax((y @ y.mT).masked_fill(hidden, -torch.inf), dim=-1) @ y
        return y if memory is None else y + memory.mean(1, keepdim=True)


class Candidates(Body):
    """`forward` scores a candidate for each place."""

    def forward(self, x: Tensor, candidates: Tensor) -> Tensor:
        return (self.features(x) * self.tokens(candidates)).sum(-1)


class Layers(Body):
    """A prediction of the tokens, and one after a layer more."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last_head = nn.Linear(D, D), nn.Linear(D, V)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.features(x)
        return [self.head(y), self.last_head(torch.tanh(self.layer(y)))]

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        first, last = (F.cross_entropy(one.mT, y) for one in self(x))
        return 0.25 * first + 0.75 * last


class NextTokens(Body):
    """Heads for the next token and for the one after it."""

    def __init__(self) -> None:
        super().__init__()
        self.second_head = nn.Linear(D, V)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = self.features(x)
        return [self.head(y), self.second_head(y)]


class Language(nn.Module):
    """A loss of texts and their lengths; the logits are those of `lm`."""

    def __init__(self) -> None:
        super().__init__()
        self.lm = Logits()

    def forward(self, text: Tensor, text_lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        real = torch.arange(1, text.shape[1]) < text_lengths[:, None]
        losses = F.cross_entropy(self.lm(text[:, :-1]).mT, text[:, 1:], reduction="none")
        return losses[real].mean(), {}


class Logits(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    def nll(self, x: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(1, x.shape[1]) < lengths[:, None]
        return F.cross_entropy(self(x[:, :-1]).mT, x[:, 1:], reduction="none")[real].mean()


class Probabilities(Body):
    """A classifier; the loss is of its logits."""

    def logits(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x).softmax(-1)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(x), y)


class Columns(Body):
    """Words [T, B, 1] of which the target's last is left out, and the head is the caller's."""

    def forward(self, src: Tensor, tgt: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(len(src)) < lengths[:, None]
        memory = self.tokens(src[..., 0].T) * real[..., None]
        return self.features(tgt[:-1, :, 0].T, memory).transpose(0, 1)


class Shifted(Body):
    """The decoder's tokens are made of the labels."""

    def forward(self, src: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        tokens = torch.cat([torch.full_like(labels[:, :1], START), labels[:, :-1]], dim=1)
        logits = self.head(self.features(tokens, self.tokens(src)))
        return F.cross_entropy(logits.mT, labels, ignore_index=0), logits


class EncodesAndDecodes(nn.Module):
    """Masks are True where a token may be seen; `project` makes logits of what `decode` gives."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.project_out = Body(), nn.Linear(D, V)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        return self.body.tokens(src) * src_mask[:, 0, 0, :, None]

    def decode(self, states: Tensor, src_mask: Tensor, tgt: Tensor, tgt_mask: Tensor) -> Tensor:
        y = self.body.tokens(tgt) + self.body.positions(torch.arange(tgt.shape[1]))
        y = y + (y @ y.mT).masked_fill(~tgt_mask[:, 0], -torch.inf).softmax(-1) @ y
        return y + (y @ states.mT).masked_fill(~src_mask[:, 0], -torch.inf).softmax(-1) @ states

    def project(self, x: Tensor) -> Tensor:
        return self.project_out(x)

    def whole(self, source: Tensor, target: Tensor) -> Tensor:
        causal = torch.ones(1, 1, target.shape[1], target.shape[1], dtype=torch.bool).tril()
        real = torch.ones_like(source, dtype=torch.bool)[:, None, None]
        return self.project(self.decode(self.encode(source, real), real, target, causal))


class GivesStatesAndMask(nn.Module):
    """`forward` takes words that say what is wanted; `encode` gives what `decode` takes, twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, wanted: str = "decode", **batch: Tensor) -> Any:
        return getattr(self, wanted)(batch["tgt"], *self.encode(batch["src"]))

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        return self.body.tokens(src), src == 0

    def decode(self, tgt: Tensor, states: Tensor, hidden: Tensor) -> Tensor:
        real = (~hidden)[..., None]
        return self.body.head(self.body.features(tgt, (states * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)))

    def whole(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, *self.encode(source))


class SearchesWithoutATarget(nn.Module):
    """As AllenNLP's models do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, source_tokens: Tensor, target_tokens: Tensor | None = None) -> Tensor:
        if target_tokens is None:
            return source_tokens[:, None].expand(-1, 3, -1)
        return self.body.head(self.body.features(target_tokens, self.body.tokens(source_tokens)))


class SourceAndTargets(Body):
    def forward(self, src: Tensor, targets: Tensor | None = None) -> Any:
        logits = self.head(self.features(src))
        return logits if targets is None else (logits, F.cross_entropy(logits.mT, targets))


class MaskPredict(nn.Module):
    """A decoder that sees both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        x = self.tokens(tgt)
        return self.head(x + x.mean(1, keepdim=True) + self.tokens(src).mean(1, keepdim=True))


class WholeMask(Body):
    """`attention_mask` [B, T, S] says who sees whom, in place of the causal mask."""

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if attention_mask is None:
            attention_mask = torch.ones(len(x), x.shape[1], x.shape[1], dtype=torch.bool).tril()
        y = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        return self.head(y + F.softmax((y @ y.mT).masked_fill(~attention_mask, -torch.inf), dim=-1) @ y)


class CountsFromTheEnd(nn.Module):
    """Items of which the newest stands at the end; 0 is padding, and nobody sees it."""

    def __init__(self, from_the_end: bool = True) -> None:
        super().__init__()
        self.item, self.place = nn.Embedding(V, D, padding_idx=0), nn.Embedding(CONTEXT, D)
        self.from_the_end, self.head = from_the_end, nn.Linear(D, V)

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        y = self.item(x) + (self.place.weight[-n:] if self.from_the_end else self.place.weight[:n])
        hidden = (x == 0)[:, None] & ~torch.eye(n, dtype=torch.bool)
        return self.head(y + F.softmax((y @ y.mT).masked_fill(hidden, -torch.inf), dim=-1) @ y)


class PooledByLength(nn.Module):
    """A classifier of the mean of so many tokens as a row has; `all_places`: of all."""

    def __init__(self, all_places: bool = False) -> None:
        super().__init__()
        self.item, self.head, self.all_places = nn.Embedding(V, D), nn.Linear(D, 3), all_places

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        real = (torch.arange(x.shape[1]) < lengths[:, None]) | self.all_places
        return self.head((self.item(x) * real[..., None]).sum(1) / real.sum(1, keepdim=True))


def tokens(rows: int = 2, length: int = 6, seed: int = 0) -> Tensor:
    return torch.randint(2, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def called(model: nn.Module, *inputs: Tensor) -> Tensor:
    return extract_logits(recognise(model).call(model, *inputs))


def test_a_method_gives_vectors_where_forward_scores_candidates():
    model = Candidates()
    torch.testing.assert_close(called(model, tokens()), model.head(model.features(tokens())))


def test_of_a_list_the_prediction_that_needs_most_layers_is_taken():
    model = Layers()
    torch.testing.assert_close(called(model, tokens()), model(tokens())[1])
    assert recognise(model).learned_elsewhere == ("head.bias", "head.weight")
    assert recognise(model).loss is None


def test_of_heads_for_the_next_tokens_the_first_is_taken():
    model = NextTokens()
    torch.testing.assert_close(called(model, tokens()), model(tokens())[0])


def test_a_part_is_the_model_where_the_loss_requires_more_than_tokens():
    model = Language()
    subject = recognise(model)
    assert (subject.model, subject.name) == (model.lm, "Language.lm")


def test_a_loss_of_lengths_takes_them_as_a_mask():
    found = find(Experiment(recognise(Logits())))
    assert [(one.form.description, one.mask, one.matched) for one in found] == [("model.nll(tokens)", "lengths", True)]


def test_probabilities_are_read_as_logarithms_where_the_loss_is_elsewhere():
    model = Probabilities()
    subject = recognise(model)
    assert subject.kind == "classifier"
    torch.testing.assert_close(called(model, tokens()), model.logits(tokens()).log_softmax(-1))


def test_a_pair_may_read_columns_of_features_and_leave_the_last_word_out():
    model, source, target = Columns(), tokens(2, 7), tokens(2, 5, seed=1)
    subject = recognise(model)
    words = [torch.cat([target, target[:, -1:]], dim=1), source]
    longer, source_words = (one.T[..., None] for one in words)
    expected = model(source_words, longer, torch.tensor([7, 7])).transpose(0, 1)
    assert subject.kind == "encoder-decoder"
    assert "src [T, B, 1], tgt [T, B, 1], lengths" in subject.name
    torch.testing.assert_close(called(model, source, target), model.head(expected))
    assert subject.padded is not None
    real = torch.arange(7) < torch.tensor([[7], [3]])
    padded = subject.padded(model, source, target, real, torch.ones_like(target, dtype=torch.bool))
    refilled = subject.padded(model, source.masked_fill(~real, 5), target, real, torch.ones_like(target) > 0)
    torch.testing.assert_close(extract_logits(padded), extract_logits(refilled))


def test_labels_that_are_shifted_inside_are_the_decoders_tokens():
    model, source, target = Shifted(), tokens(2, 7), tokens(2, 5, seed=1)
    subject = recognise(model)
    logits = model(source, torch.cat([target, target[:, :1]], dim=1))[1][:, 1:]
    torch.testing.assert_close(called(model, source, target), logits)
    assert (subject.start, subject.context) == (START, CONTEXT - 1)


def test_a_target_that_may_be_left_out_makes_a_pair_and_targets_of_a_language_model_do_not():
    assert recognise(SearchesWithoutATarget()).kind == "encoder-decoder"
    assert recognise(SourceAndTargets()).kind == "causal"


@pytest.mark.parametrize("family", [EncodesAndDecodes, GivesStatesAndMask])
def test_a_model_without_a_call_is_called_by_what_encodes_and_what_decodes(family: type[nn.Module]):
    model: Any = family()
    source, target = tokens(2, 7), tokens(2, 5, seed=1)
    subject = recognise(model)
    assert subject.kind == "encoder-decoder"
    torch.testing.assert_close(called(model, source, target), model.whole(source, target))
    assert run_check(subject, CHECKS["encoder-decoder.source-padding"], seed=1).status == "passed"


def test_a_decoder_that_fills_in_masks_is_refused_by_name_unless_its_kind_is_given():
    with pytest.raises(CheckError, match="by its name fills in masked tokens"):
        recognise(MaskPredict())
    assert recognise(MaskPredict(), kind="encoder-decoder").kind == "encoder-decoder"


def test_a_mask_of_who_sees_whom_is_no_mask_of_padding():
    model = WholeMask()
    subject: Any = recognise(model)
    real = torch.arange(6) < torch.tensor([[6], [4]])
    padded = subject.padded(model, tokens(), real)
    torch.testing.assert_close(padded[1, :4], model(tokens()[1:, :4])[0])


@pytest.mark.parametrize(("all_places", "status"), [(False, "passed"), (True, "failed")])
def test_padding_is_told_by_lengths(all_places: bool, status: str):
    outcome = run_check(recognise(PooledByLength(all_places)), CHECKS["batches.right-padding"], seed=1)
    assert outcome.status == status


@pytest.mark.parametrize(("from_the_end", "side"), [(True, "left"), (False, "right")])
def test_padding_stands_where_places_are_not_counted_from(from_the_end: bool, side: str):
    subject = recognise(CountsFromTheEnd(from_the_end), kind="bidirectional")
    assert (subject.pad, subject.sides) == (0, (side,))


@pytest.mark.parametrize("family", [Candidates, Layers, NextTokens, WholeMask])
def test_these_models_are_causal(family: type[nn.Module]):
    assert recognise(family()).kind == "causal"
