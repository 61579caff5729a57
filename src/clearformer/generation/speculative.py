"""Speculative decoding: a small model drafts a few tokens, and the large one judges them all in one pass.

    x_i ~ q_i                               for i = 1 … K: the draft, one token after another
    p_1 … p_{K+1}                           the target, given x_1 … x_K, in one pass
    accept x_i with probability min(1, p_i(x_i) / q_i(x_i))
    at the first rejection, replace x_i by a draw from norm(max(0, p_i - q_i)), and end the step
    if all are accepted, draw x_{K+1} ~ p_{K+1}

    q(x) min(1, p(x) / q(x)) + P(rejection) norm(max(0, p - q))(x) = p(x)

So each token has the target's distribution, whatever the draft is: Leviathan et al. 2022, arXiv:2211.17192, and Chen et
al. 2023, arXiv:2302.01318. p and q are what is left after temperature, top-k and top-p; greedy ones are one-hot, and a
draft is accepted where it has the target's likeliest token. A seed gives another sample than without a draft.

The rows of a batch stay together: a step ends at the first rejection in any of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.engine import engine_name, engine_of
from clearformer.errors import PromptError
from clearformer.generation.decoder import Decoder, ScoringDecoder
from clearformer.generation.sampling import Sampler, Sampling, probabilities

Distribution = Float[NDArray[np.float64], "*B V"]
Tokens = Int[NDArray[np.int64], " B"]


def acceptance(p: Distribution, q: Distribution) -> Distribution:
    """min(1, p / q): the probability that a drafted token is accepted, for each token; 0 where q is."""
    return np.divide(np.minimum(p, q), q, out=np.zeros_like(p), where=q > 0.0)


def residual(p: Distribution, q: Distribution) -> Distribution:
    """norm(max(0, p - q)), from which a rejected token is replaced; p where p = q, since nothing is rejected there."""
    excess = np.maximum(p - q, 0.0)
    total = excess.sum(-1, keepdims=True)
    return np.divide(excess, total, out=p.copy(), where=total > 0.0)


@dataclass
class Draft:
    """The model that drafts, and how many tokens (K) a step; what came of them is counted. Raises PromptError.

    Its vocabulary must be the target's. Its context may be shorter: it slides, whatever the target does.
    """

    model: Any
    tokens: int = 4
    steps: int = field(default=0, init=False)
    """passes of the target"""
    drafted: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)
    """of `drafted`, in each row of a batch"""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise PromptError(f"--draft-tokens must be 1 or more, found {self.tokens}; raise it")

    @property
    def tokens_per_step(self) -> float:
        """The mean number of new tokens of a row per pass of the target."""
        return (self.steps + self.accepted) / max(1, self.steps)


class Speculation:
    """The decoders of a target and of its draft, which hold the same new tokens."""

    def __init__(self, model: Any, target: Decoder, draft: Draft, sampler: Sampler, *, cached: bool) -> None:
        """`target` is a decoder of `model`. Raises PromptError if an engine cannot decode with a draft."""
        drafter = engine_of(draft.model).make_decoder(draft.model, target.rows, cached=cached)
        self.target, self.drafter = _scoring(target, model), _scoring(drafter, draft.model)
        self.draft, self.sampler = draft, sampler

    def step(self, limit: int) -> list[list[int]]:
        """The next tokens of each row, at least one and at most `limit` or K + 1; they are appended to both decoders.

        The target's rows must not be longer than its context.
        """
        if max(map(len, self.drafter.rows)) > self.drafter.context:
            self.drafter.slide()
        room, drafter_room = (decoder.context - max(map(len, decoder.rows)) for decoder in (self.target, self.drafter))
        count = min(self.draft.tokens, limit - 1, room, drafter_room + 1)  # the last token is drafted, but never read
        drafted = list(self._drafted(count))
        logits, new = self.target.logits(count + 1), list[Tokens]()
        for i, (x, q) in enumerate(drafted):
            p = self.sampler.distribution(logits[:, i])
            is_accepted = self.sampler.uniform() < acceptance(p, q)[np.arange(len(x)), x]
            new.append(np.where(is_accepted, x, self.sampler.draw(residual(p, q))))
            if not is_accepted.all():
                break
        else:
            new.append(self.sampler.draw(self.sampler.distribution(logits[:, count])))
        self._keep(new, count)
        return [tokens.tolist() for tokens in new]

    def _drafted(self, count: int) -> Iterator[tuple[Tokens, Distribution]]:
        """Draw tokens from the draft one after another, and the distributions that they are drawn from."""
        for _ in range(count):
            q = self.sampler.distribution(self.drafter.next_logits())
            x = self.sampler.draw(q)
            for decoder in (self.drafter, self.target):
                decoder.append(x.tolist())
            yield x, q

    def _keep(self, new: list[Tokens], count: int) -> None:
        """End both decoders' rows, of which the last `count` tokens are drafted, in the new ones."""
        accepted = len(new) - 1
        for decoder in (self.target, self.drafter):
            decoder.take_back(count - accepted)
            decoder.append(new[-1].tolist())
        self.draft.steps += 1
        self.draft.drafted += count
        self.draft.accepted += accepted


def _scoring(decoder: Decoder, model: Any) -> ScoringDecoder:
    if not isinstance(decoder, ScoringDecoder):
        raise PromptError(
            "an engine that reads several tokens in one step (torch, numpy or c) was expected with --draft, found "
            f"{engine_name(model)}; add --engine torch"
        )
    return decoder


if __name__ == "__main__":
    p, q = (probabilities(np.log([odds]), Sampling()) for odds in ([5.0, 3.0, 2.0], [2.0, 2.0, 6.0]))
    accepted = q * acceptance(p, q)
    print("target p                     ", p[0].round(3))
    print("draft q                      ", q[0].round(3))
    print("drafted and accepted         ", accepted[0].round(3), "sum", accepted.sum().round(3))
    print("replacements after rejection ", residual(p, q)[0].round(3))
    print("together, p again            ", (accepted + (1.0 - accepted.sum()) * residual(p, q))[0].round(3))
