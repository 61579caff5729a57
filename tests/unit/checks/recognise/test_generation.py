"""What writes text is found and called greedily, whatever its arguments are called and whatever it returns."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

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


class Beams(Weighs):
    def beam_search(self, prompt: Tensor, max_len: int, beam_size: int = 4) -> tuple[Tensor, Tensor]:
        assert beam_size == 1
        while prompt.shape[1] < max_len:
            prompt = self._append(prompt)
        return prompt[:, None], torch.zeros(len(prompt), 1)


class OneList(Weighs):
    def greedy(self, ids: list[int], num_tokens: int, context_size: int) -> list[int]:
        ids = list(ids)
        for _ in range(num_tokens):
            ids.append(int(self(torch.tensor([ids[-context_size:]]))[0, -1].argmax()))
        return ids


@pytest.mark.parametrize("family", [Sampling, UpToLength, NewTokensOnly, Beams, OneList])
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


class WaitsForAllRows(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int, eos_token_id: int | None = None) -> Tensor:
        done = torch.zeros(len(idx), dtype=torch.bool)
        for _ in range(max_new_tokens):
            idx = self._append(idx)
            done |= idx[:, -1] == eos_token_id
            if self.is_over(done):
                break
        return idx

    def is_over(self, done: Tensor) -> bool:
        return bool(done.all())


class StopsWithAnyRow(WaitsForAllRows):
    def is_over(self, done: Tensor) -> bool:
        return bool(done.any())


class DeclaresItsEnd(StopsWithAnyRow):
    end_token = V + 1

    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        return super().generate(idx, max_new_tokens, self.end_token)


class WritesBehindTheEnd(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int, eos_id: int = -1) -> Tensor:
        for _ in range(max_new_tokens):
            ended = idx[:, -1:] == eos_id  # by the last token, not for good
            idx = torch.cat([idx, self._append(idx)[:, -1:].masked_fill(ended, V)], dim=1).clamp(max=V - 1)
        return idx


class LeavesOutWhatEnded(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int, eos_id: int = -1) -> Tensor:
        text = idx
        for _ in range(max_new_tokens):
            going = (text[:, idx.shape[1] :] != eos_id).all(1)
            new = self._append(text[going])[:, -1:] if going.any() else text[:0, :1]
            text = torch.cat([text, torch.cat([new, new.new_zeros(len(text) - len(new), 1)])], dim=1)
        return text


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
        (WaitsForAllRows, "generation.greedy", ""),
        (StopsWithAnyRow, "generation.greedy", "ended-early"),
        (DeclaresItsEnd, "generation.greedy", "ended-early"),
        (WritesBehindTheEnd, "generation.greedy", "written-behind-the-end"),
        (LeavesOutWhatEnded, "generation.greedy", "changed-by-an-end"),
        (KeepsTheOldest, "generation.past-context", "keeps-the-oldest"),
    ],
)
def test_text_that_is_not_what_the_logits_say_is_explained(family: type[Weighs], check: str, cause: str):
    outcome = run_check(recognise(family()), CHECKS[check], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


class DrawsOthers(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int, top_k: int | None = None) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(idx[:, -CONTEXT:])[:, -1] / 100
            if top_k is not None:
                logits[logits < logits.topk(top_k).values[:, [-1]]] = 0.0
            idx = torch.cat([idx, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return idx


class TakesTheLastAtZero(Weighs):
    """The branch for a temperature of 0 is another one than that for small ones."""

    def generate(self, idx: Tensor, max_new_tokens: int, temperature: float = 1.0) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(idx[:, -CONTEXT:])[:, -1]
            new = logits.argmin(-1) if temperature == 0 else torch.multinomial((logits / temperature).softmax(-1), 1)
            idx = torch.cat([idx, new.view(-1, 1)], dim=1)
        return idx


class CropsWhatItReturns(Weighs):
    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            idx = self._append(idx[:, -CONTEXT + 1 :])
        return idx


class ReadsPadding(Weighs):
    pad_id = 0

    def complete(self, prompts: Tensor, n: int) -> Tensor:
        """The tokens after prompts that are padded on the left."""
        length = prompts.shape[1]
        for _ in range(n):
            prompts = self._append(prompts)
        return prompts[:, length:]


class Masked(Weighs):
    """Hides padding on the left, and counts positions and weights from the first real token."""

    written = 1
    """what the mask says of a new token"""

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        real = torch.ones_like(tokens) if attention_mask is None else attention_mask.long()
        place = real.cumsum(1) * real
        x = self.tokens(tokens) + self.positions((place - 1).clamp(min=0))
        weights = place[:, None].expand(-1, tokens.shape[1], -1).tril().to(x.dtype)
        return self.head(weights / weights.sum(-1, keepdim=True).clamp(min=1) @ x + x)

    def generate(self, idx: Tensor, max_new_tokens: int, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(idx) if attention_mask is None else attention_mask
        for _ in range(max_new_tokens):
            idx = torch.cat([idx, self(idx, mask)[:, -1:].argmax(-1)], dim=1)
            new = mask[:, :1] if attention_mask is not None and not self.written else torch.ones_like(mask[:, :1])
            mask = torch.cat([mask, new], dim=1)
        return idx


class MasksWhatItWrites(Masked):
    written = 0


@pytest.mark.parametrize(
    ("family", "check", "cause"),
    [
        (Masked, "generation.padded", ""),
        (MasksWhatItWrites, "generation.padded", "padding-read"),
        (Sampling, "generation.sampling", ""),
        (DrawsOthers, "generation.sampling", "sampling"),
        (TakesTheLastAtZero, "generation.sampling", "sampling"),
        (CropsWhatItReturns, "generation.past-context", "prompt-lost"),
        (ReadsPadding, "generation.padded", "padding-read"),
    ],
)
def test_sampling_cropping_and_padding_are_judged(family: type[Weighs], check: str, cause: str):
    outcome = run_check(recognise(family()), CHECKS[check], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


class Translates(nn.Module):
    """An encoder-decoder; `greedy_decode` begins with `bos_idx` and ends when all rows have written `eos_idx`."""

    bos_idx, eos_idx, pad_idx, hides_source_padding, waits_for_all = 1, 2, 0, True, True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, src: Tensor, tgt: Tensor, hides: bool = True) -> Tensor:
        real = (src != self.pad_idx) if hides else torch.ones_like(src, dtype=torch.bool)
        source = (self.tokens(src) * real[..., None]).sum(1, keepdim=True) / real.sum(1)[:, None, None]
        x = self.tokens(tgt).cumsum(1) / torch.arange(1, tgt.shape[1] + 1)[:, None]
        return self.head((x + 2 * source).tanh())

    def greedy_decode(self, src: Tensor, max_len: int) -> Tensor:
        text = torch.full_like(src[:, :1], self.bos_idx)
        for _ in range(max_len - 1):
            logits = self(src, text, self.hides_source_padding)
            text = torch.cat([text, logits[:, -1:].argmax(-1)], dim=1)
            ended = (text == self.eos_idx).any(1)
            if ended.all() if self.waits_for_all else ended.any():
                break
        return text


class RepeatsItsFirstToken(Translates):
    """With small weights its logits are largest at what it reads, and what it returns begins behind the first token."""

    def forward(self, src: Tensor, tgt: Tensor, hides: bool = True) -> Tensor:
        return super().forward(src, tgt, hides) + 0.5 * functional.one_hot(tgt, V)

    def greedy_decode(self, src: Tensor, max_len: int) -> Tensor:
        return super().greedy_decode(src, max_len + 1)[:, 1:]


SOCK_EOS, SOCK_PAD = 2, 0


class IsToldLengths(Translates):
    """It declares nothing: the end and padding are constants of its file, and lengths say how long sources are."""

    eos_idx = pad_idx = None  # type: ignore[assignment]
    keeps_state = True

    def forward(self, source: Tensor, source_length: Tensor, target: Tensor) -> Tensor:
        real = torch.arange(source.shape[1]) < source_length[:, None]
        read = (self.tokens(source) * real[..., None]).sum(1, keepdim=True) / source_length[:, None, None]
        return self.head((self.tokens(target).cumsum(1) + 2 * read).tanh())

    def greedy_decode(self, source: Tensor, source_length: Tensor, max_output_length: int = 12) -> Tensor:  # type: ignore[override]
        text, ended = torch.full_like(source[:, :1], self.bos_idx), torch.zeros_like(source[:, :1], dtype=torch.bool)
        for _ in range(max_output_length):
            logits = self(source, source_length, text if self.keeps_state else text[:, -1:])
            word = logits[:, -1:].argmax(-1).masked_fill(ended, SOCK_PAD)
            text, ended = torch.cat([text, word], dim=1), ended | (word == SOCK_EOS)
            if ended.all():
                break
        return text[:, 1:]


class ForgetsItsState(IsToldLengths):
    keeps_state = False


class ReadsSourcePadding(Translates):
    hides_source_padding = False


class StopsWithTheFirst(Translates):
    waits_for_all = False


class KeepsTheFirstSource(Translates):
    first: Tensor | None = None

    def greedy_decode(self, src: Tensor, max_len: int) -> Tensor:
        self.first = src if self.first is None or self.first.shape != src.shape else self.first
        return super().greedy_decode(self.first, max_len)


@pytest.mark.parametrize(
    ("family", "cause"),
    [
        (Translates, ""),
        (RepeatsItsFirstToken, ""),
        (IsToldLengths, ""),
        (ForgetsItsState, "last-token-only"),
        (ReadsSourcePadding, "source-padding"),
        (StopsWithTheFirst, "ended-early"),
        (KeepsTheFirstSource, "state-left"),
    ],
)
def test_an_encoder_decoder_writes_what_its_logits_say(family: type[Translates], cause: str):
    subject = recognise(family())
    assert (subject.start, subject.end) == (1, 2)
    outcomes = [run_check(subject, CHECKS["generation.greedy"], seed) for seed in range(1, 6)]
    found = {outcome.cause for outcome in outcomes if outcome.status == "failed"}  # not every draw ends a row early
    assert found == ({cause} if cause else set()), outcomes


class Fills(nn.Module):
    """A bidirectional model that fills in its token 3."""

    mask_id, place = 3, 0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return self.head((x + x.mean(1, keepdim=True)).tanh())

    def fill_mask(self, tokens: Tensor) -> Tensor:
        return torch.where(tokens == self.mask_id, self(tokens).argmax(-1).roll(self.place, 1), tokens)


class HidesPadding(Fills):
    pad_id, told = 0, True

    def forward(self, tokens: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        real = torch.ones_like(tokens) if attention_mask is None else attention_mask
        mean = (x * real[..., None]).sum(1, keepdim=True) / real.sum(1).clamp(min=1)[:, None, None]
        return self.head((x + 4 * mean).tanh())

    def fill_mask(self, tokens: Tensor) -> Tensor:
        logits = self(tokens, (tokens != self.pad_id).long() if self.told else None)
        return torch.where(tokens == self.mask_id, logits.argmax(-1), tokens)


class ReadsPaddingAround(HidesPadding):
    told = False


class FillsBeside(Fills):
    place = 1


@pytest.mark.parametrize(
    ("family", "cause"),
    [(Fills, ""), (HidesPadding, ""), (FillsBeside, "not-the-likeliest"), (ReadsPaddingAround, "padding-read")],
)
def test_masked_tokens_are_filled_in_their_place(family: type[Fills], cause: str):
    subject = recognise(family())
    assert (subject.kind, subject.mask) == ("bidirectional", 3)
    outcome = run_check(subject, CHECKS["generation.filled"], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


class NeedsSomethingElse(Weighs):
    def generate(self, prompt: str, tokenizer: Any) -> str:
        return str(tokenizer.decode(prompt))


def test_a_method_that_cannot_be_called_is_left_alone():
    assert recognise(NeedsSomethingElse()).generate is None
