"""A step of an encoder-decoder is found, whether it is given the source, what encodes it, or a state made of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.outputs import extract_logits

V, D, CONTEXT = 23, 8, 20
EXACT = 1e-5
"""float32 sums in another order differ by less than 1e-6 here"""


class Translates(nn.Module):
    """Logits of the source, and of the sum of the target and positions so far, which a cache has to hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def encode(self, src: Tensor) -> Tensor:
        return self.tokens(src).mean(1, keepdim=True)

    def _decode(self, tgt: Tensor, memory: Tensor, past: Any) -> tuple[Tensor, Any]:
        before, start = past or (0, 0)
        x = self.tokens(tgt) + self.positions(torch.arange(start, start + tgt.shape[1]))
        x = x.cumsum(1) + before
        return self.head((x + memory).tanh()), (x[:, -1:], start + tgt.shape[1])

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self._decode(tgt, self.encode(src), None)[0]


class GivenTheSource(Translates):
    def step(self, src: Tensor, tgt: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        return self._decode(tgt, self.encode(src), cache)


class GivenTheMemory(Translates):
    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        assert src_mask.shape == src.shape
        return super().encode(src)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self._decode(tgt, Translates.encode(self, src), None)[0]

    def decode(self, token: Tensor, enc_out: Tensor, src_mask: Tensor, past: Any) -> tuple[Tensor, Any]:
        assert token.dim() == 1
        assert src_mask.dim() == 2
        logits, past = self._decode(token[:, None], enc_out, past)
        return logits[:, 0], past


class SpreadsTheMemory(Translates):
    """Both what is encoded and its mask come from `encode`, and states are dictionaries that are written to."""

    def encode(self, src: Tensor) -> Any:
        return super().encode(src), torch.ones_like(src)

    def decode(self, tgt: Tensor, memory: Tensor, seen: Tensor, states: list[dict[str, Any]] | None = None) -> Tensor:
        assert seen.dim() == 2
        state: dict[str, Any] = {} if states is None else states[0]
        logits, state["past"] = self._decode(tgt, memory, state.get("past"))
        return logits

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self.decode(tgt, *self.encode(src))


class AdvancesAState(Translates):
    def start_state(self, src: Tensor) -> tuple[Tensor, Any]:
        return self.encode(src), None

    def advance(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, past = self._decode(tokens, state[0], state[1])
        return logits, (state[0], past)


class Decodes(Translates):
    """A part that makes a state of what is encoded, and writes to it."""

    def init_state(self, enc_outputs: Tensor, enc_valid_lens: Tensor | None = None) -> list[Any]:
        return [enc_outputs, enc_valid_lens, None]

    def forward(self, X: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:  # noqa: N803
        logits, state[2] = self._decode(X, state[0], state[2])
        return logits, state


class EncodesToOne(nn.Embedding):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(1, keepdim=True)


class HasADecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = EncodesToOne(V, D), Decodes()

    def forward(self, enc_X: Tensor, dec_X: Tensor) -> tuple[Tensor, list[Any]]:  # noqa: N803
        return self.decoder(dec_X, self.decoder.init_state(self.encoder(enc_X)))


@pytest.mark.parametrize(
    ("family", "words"),
    [
        (GivenTheSource, "model.step(src, tgt, cache): a step takes any number of tokens"),
        (SpreadsTheMemory, "model.decode(memory, seen, tgt, states): a step takes any number of tokens"),
        (GivenTheMemory, "model.decode(enc_out, src_mask, token, past): a step takes one token of each row, [B]"),
        (AdvancesAState, "model.advance(tokens, state): a step takes any number of tokens"),
        (HasADecoder, "model.decoder(X, state): a step takes any number of tokens"),
    ],
)
def test_a_step_is_found_and_continues_from_its_cache(family: type[nn.Module], words: str):
    model = family()
    subject = recognise(model)
    assert subject.ways[0].startswith(words), subject.ways
    source, tokens = torch.randint(V, (2, 7)), torch.randint(V, (2, 6))
    first, cache = subject.step(model, source, tokens[:, :4], None)
    second, _ = subject.step(model, source, tokens[:, 4:], cache)
    expected = extract_logits(model(source, tokens))
    torch.testing.assert_close(torch.cat([first, second], dim=1), expected, atol=EXACT, rtol=0)


class ForgetsPosition(GivenTheSource):
    def step(self, src: Tensor, tgt: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        return super().step(src, tgt, cache and (cache[0], 0))


class KeepsTheFirstSource(GivenTheSource):
    first: Tensor | None = None

    def step(self, src: Tensor, tgt: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        self.first = src if self.first is None else self.first
        return super().step(self.first, tgt, cache)


class SharesItsState(AdvancesAState):
    """Two texts that are decoded in turn overwrite each other."""

    def advance(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.kept = state[1] and self.kept
        logits, self.kept = self._decode(tokens, state[0], self.kept)
        return logits, (state[0], True)


@pytest.mark.parametrize(
    ("family", "check"),
    [
        (ForgetsPosition, "cache.steps"),
        (KeepsTheFirstSource, "cache.separate"),
        (SharesItsState, "cache.separate"),
    ],
)
def test_a_wrong_step_is_found_too_and_fails(family: type[Translates], check: str):
    assert run_check(recognise(family()), CHECKS[check], seed=1).status == "failed"
