"""Prompts of unequal length that go on together, against each row alone; and what a difference means."""

import torch
from torch import Tensor

from clearformer.checks.explain.padding import pad
from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.influence import TOLERANCE, MIN_INFLUENCE
from clearformer.checks.probe.probe import Inputs, Probe, difference


class Rows:
    """Row i of `tokens` [B, T] is a prompt of lengths[i] tokens and what comes after it."""

    def __init__(self, probe: Probe, tokens: Tensor, lengths: list[int]) -> None:
        self.probe, self.tokens, self.lengths = probe, tokens, lengths
        self.side, self.new = probe.subject.sides[0], tokens.shape[1] - max(lengths)

    def together(self, tokens: Tensor, filler: Tensor | None = None) -> list[Tensor]:
        """Each row's logits: the prompts padded and read in one piece, then all go on a token at a time."""
        probe = self.probe
        assert probe.subject.prefill is not None
        prompts, real = pad(tokens, self.lengths, self.side, probe.subject.pad)
        if filler is not None:
            prompts[~real] = filler[:, : real.shape[1]][~real]
        logits, cache = probe.pair(probe.invoke(probe.subject.prefill, prompts, real), prompts)
        rows = [[row[at]] for row, at in zip(logits, real, strict=True)]
        for t in range(self.new):
            following = torch.stack([row[n + t] for row, n in zip(tokens, self.lengths, strict=True)])
            logits, cache = probe.step(Inputs(following[:, None]), cache)
            for row, more in zip(rows, logits, strict=True):
                row.append(more)
        return [torch.cat(row) for row in rows]

    def apart(self) -> list[Tensor]:
        """How far each row is at each place from itself alone, in one forward."""
        texts = [row[None, : n + self.new] for row, n in zip(self.tokens, self.lengths, strict=True)]
        alone = [self.probe.logits(Inputs(text))[0] for text in texts]
        return [difference(*pair) for pair in zip(self.together(self.tokens), alone, strict=True)]

    def moved(self, tokens: Tensor, filler: Tensor | None = None) -> list[float]:
        """How far the logits of each row move after its prompt."""
        pairs = zip(self.together(self.tokens), self.together(tokens, filler), self.lengths, strict=True)
        return [float(difference(one[n:], other[n:]).max()) for one, other, n in pairs]

    def unseen(self) -> list[tuple[int, int]]:
        """Tokens of a prompt, as (row, place), that do not matter to what follows it."""
        pairs = []
        for s in range(max(self.lengths)):
            changed = self.tokens.clone()
            changed[:, s] = self.probe.other(changed)[:, s]
            moved = self.moved(changed)
            pairs += [(row, s) for row, n in enumerate(self.lengths) if s < n and moved[row] <= MIN_INFLUENCE]
        return pairs

    def explain(self, apart: list[Tensor]) -> Outcome:
        cause, seen = self._why(apart)
        row = max(range(len(apart)), key=lambda number: float(apart[number].max()))
        worst = float(apart[row].max())
        case = (
            f"prompts of {', '.join(map(str, self.lengths))} tokens in one batch, then {self.new} steps: the row of "
            f"{self.lengths[row]} is {worst:.2g} of the logits' spread away from itself alone"
        )
        return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause], seen=seen)

    def _why(self, apart: list[Tensor]) -> tuple[str, tuple[str, ...]]:
        wrong = [n for n, row in zip(self.lengths, apart, strict=True) if row[n:].max() > TOLERANCE]
        seen = f"prompts whose continuation is wrong, by length: {', '.join(map(str, wrong)) or 'none'}"
        if any(row[:n].max() > TOLERANCE for n, row in zip(self.lengths, apart, strict=True)):
            return "prompt", (seen,)
        if max(self.moved(self.tokens, self.probe.other(self.tokens))) > TOLERANCE:
            return "padding-attended", (seen,)
        if unseen := self.unseen():
            row, s = unseen[0]
            return "past-cut", (seen, f"token {s} of the prompt of {self.lengths[row]} does not matter to what follows")
        return ("unequal-positions" if max(self.lengths) not in wrong else "differs"), (seen,)


DIAGNOSES = {
    "prompt": "The prompts' own logits differ already, before any step: see batches.right-padding and left-padding.",
    "padding-attended": "Steps attend to the padding behind or before the shorter prompts: the mask of a step must "
    "know which cached places are real, row by row.",
    "past-cut": "Part of a prompt is lost: the next tokens are written over it, or a mask of one length serves all "
    "rows.",
    "unequal-positions": "All of each prompt is seen and no padding, and only shorter rows are wrong: their next "
    "token takes the position behind the longest prompt. Each row's position is its own number of tokens.",
    "differs": "The longest row is wrong too, though it has no padding: see cache.steps, or look for positions or a "
    "mask that are taken from the shortest row.",
}
