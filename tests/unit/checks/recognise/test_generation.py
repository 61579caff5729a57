"""What writes text is found and called greedily, whatever its arguments are called and whatever it returns."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D, CONTEXT = 23, 8, 14


class Weighs(nn.Module):
    """A causal model in which later tokens weigh more, with positions up to its context."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def forward(self, tokens: Tensor) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        x = self.tokens(tokens) + self.positions(torch.arange(T))
        weights = torch.arange(1.0, T + 1).expand(T, T).tril()
        return self.head(weights / weights.sum(-1, keepdim=True) @ x)

    def _append(self, tokens: Tensor) -> Tensor:
        return torch.cat([tokens, self(tokens[:, -CONTEXT:])[:, -1:].argmax(-1)], dim=1)


class Sampling(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int, temperature: float = 1.0, top_k: int | None = None) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(idx[:, -CONTEXT:])[:, -1] / temperature
            if top_k is not None:
                logits[logits < logits.topk(top_k).values[:, [-1]]] = -math.inf
            idx = torch.cat([idx, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return idx


class UpToLength(Weighs):
    def generate(self, prompt: Tensor, max_length: int, eos_id: int = 2, do_sample: bool = True) -> Tensor:
        assert not do_sample
        while prompt.shape[1] < max_length and not (prompt[:, -1] == eos_id).all():
            prompt = self._append(prompt)
        return prompt


class NewTokensOnly(Weighs):
    def complete(self, prompt: Tensor, n: int) -> Tensor:
        length = prompt.shape[1]
        for _ in range(n):
            prompt = self._append(prompt)
        return prompt[:, length:]


class OneList(Weighs):
    def greedy(self, ids: list[int], num_tokens: int, context_size: int) -> list[int]:
        ids = list(ids)
        for _ in range(num_tokens):
            ids.append(int(self(torch.tensor([ids[-context_size:]]))[0, -1].argmax()))
        return ids


@pytest.mark.parametrize("family", [Sampling, UpToLength, NewTokensOnly, OneList])
def test_text_is_written_greedily_and_the_prompt_left_out(family: type[Weighs]):
    model = family()
    subject = recognise(model)
    prompt = torch.randint(V, (2, 4))
    expected = prompt
    for _ in range(5):
        expected = model._append(expected)
    assert torch.equal(subject.generate(model, prompt, 5), expected[:, 4:])
    for check in ("generation.greedy", "generation.past-context"):
        assert run_check(subject, CHECKS[check], seed=1).status == "passed"


class FirstRowOnly(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            token = self(idx[:, -CONTEXT:])[0, -1].argmax().expand(len(idx), 1)
            idx = torch.cat([idx, token], dim=1)
        return idx


class FirstPosition(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            idx = torch.cat([idx, self(idx[:, -CONTEXT:])[:, :1].argmax(-1)], dim=1)
        return idx


class ForgetsPrompt(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        new = self(idx)[:, -1:].argmax(-1)
        for _ in range(max_new_tokens - 1):
            new = self._append(new)
        return torch.cat([idx, new], dim=1)


class KeepsItsText(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        self.text = torch.cat([getattr(self, "text", idx[:, :0]), idx], dim=1)
        length = self.text.shape[1]
        for _ in range(max_new_tokens):
            self.text = self._append(self.text)
        return torch.cat([idx, self.text[:, length:]], dim=1)


class Restless(Weighs):
    def greedy(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(idx[:, -CONTEXT:])[:, -1:]
            idx = torch.cat([idx, (logits + 9 * torch.randn(logits.shape)).argmax(-1)], dim=1)
        return idx


class KeepsTheOldest(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            idx = torch.cat([idx, self(idx[:, :CONTEXT])[:, -1:].argmax(-1)], dim=1)
        return idx


@pytest.mark.parametrize(
    ("family", "check", "cause"),
    [
        (FirstRowOnly, "generation.greedy", "first-row"),
        (FirstPosition, "generation.greedy", "first-position"),
        (ForgetsPrompt, "generation.greedy", "prompt-forgotten"),
        (KeepsItsText, "generation.greedy", "state-left"),
        (Restless, "generation.greedy", "random"),
        (KeepsTheOldest, "generation.past-context", "keeps-the-oldest"),
    ],
)
def test_text_that_is_not_what_the_logits_say_is_explained(family: type[Weighs], check: str, cause: str):
    outcome = run_check(recognise(family()), CHECKS[check], seed=1)
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome


class NeedsSomethingElse(Weighs):
    def generate(self, prompt: str, tokenizer: Any) -> str:
        return str(tokenizer.decode(prompt))


def test_a_method_that_cannot_be_called_is_left_alone():
    assert recognise(NeedsSomethingElse()).generate is None
