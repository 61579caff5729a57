"""What is said of a model stands over what is found, and a wrong name is answered in one sentence."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks import Subject, check_model
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.given import Given
from clearformer.errors import CheckError

V, D, CONTEXT = 23, 8, 14


class Model(nn.Module):
    """A causal model with methods whose names do not tell what they do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.tokens(tokens).cumsum(1).tanh())

    def judge(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(x).flatten(0, 1), y.flatten())

    def judge_wrongly(self, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(self(x).flatten(0, 1), y.flatten(), reduction="sum")

    def go_on(self, tokens: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.tokens(tokens).cumsum(1) + (0 if seen is None else seen)
        return self.head(x.tanh()), x[:, -1:]

    def tell(self, tokens: Tensor, count: int) -> Tensor:
        for _ in range(count):
            tokens = torch.cat([tokens, self(tokens)[:, -1:].argmax(-1)], dim=1)
        return tokens

    def name(self) -> str:
        return "nothing of the kind"


def statuses(*only: str, **given: Any) -> dict[str, str]:
    return {result.id: result.outcome.status for result in check_model(Model(), only=only, **given)}


def test_nothing_of_it_is_found_without_a_word():
    assert statuses("loss.shift", "cache.steps", "generation.greedy", "batches.right-padding") == {
        "loss.shift": "does not apply",
        "cache.steps": "does not apply",
        "generation.greedy": "does not apply",
        "batches.right-padding": "passed",
    }


def test_methods_are_used_by_their_names():
    given = {"loss": "model.judge", "generate": "tell"}
    assert set(statuses("loss.shift", "generation.greedy", **given).values()) == {"passed"}
    assert statuses("loss.shift", loss="judge_wrongly") == {"loss.shift": "failed"}


def test_a_function_is_used_as_in_a_subject():
    def loss(model: Model, tokens: Tensor, labels: Tensor) -> Tensor:
        return model.judge(tokens[:, :-1], labels[:, 1:])

    assert statuses("loss.shift", loss=loss) == {"loss.shift": "passed"}


def test_the_padding_token_and_the_context_are_those_that_are_given():
    subject = recognise(Model(), given=Given(pad=3, context=9))
    assert (subject.pad, subject.reserved, subject.context) == (3, (3,), 9)
    tokens, real = torch.tensor([[5, 6]]), torch.tensor([[True, False]])
    padded = subject.padded(subject.model, tokens, real)
    torch.testing.assert_close(padded, subject.model(torch.tensor([[5, 3]])), atol=0, rtol=0)


def test_a_subject_is_completed_by_what_is_given():
    subject = Subject(Model(), lambda model, tokens: model(tokens), vocab_size=V)
    assert recognise(subject, given=Given(loss="model.judge")).loss is not None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"loss": "model.juge"},
            "a method of Model was expected for loss, such as model.loss, found 'model.juge'; did ",
        ),
        ({"step": "model.zzz"}, "it has name, tell, go_on, judge, judge_wrongly"),
        ({"loss": "model.name"}, "model.name was called in all known forms with tokens, labels or a batch of both"),
        ({"step": "model.tell"}, "model.tell was called in all known forms with tokens and a cache"),
        ({"generate": "model.judge"}, "model.judge was called in all known forms with a prompt and a number of tokens"),
        ({"pad": V}, f"a padding token of the model was expected, which reads the tokens 0 to {V - 1}, found {V}"),
        ({"context": 0}, "a number of tokens was expected as the context, found 0"),
    ],
)
def test_what_cannot_be_is_answered_in_one_sentence(given: dict[str, Any], words: str):
    with pytest.raises(CheckError) as message:
        check_model(Model(), only=["masks.future"], **given)
    assert words in str(message.value)
    assert "\n" not in str(message.value)
