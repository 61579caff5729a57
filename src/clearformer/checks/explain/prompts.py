"""Prompts of unequal length, continued in one batch, against each row alone; and what a difference means."""

import torch
from torch import Tensor

from clearformer.checks.explain.padding import pad
from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference


class PromptBatch:
    """Row i of `tokens` [B, T] is a prompt of lengths[i] tokens and its continuation."""

    def __init__(self, probe: Probe, tokens: Tensor, lengths: list[int]) -> None:
        self.probe, self.tokens, self.lengths = probe, tokens, lengths
        self.side, self.steps = probe.subject.sides[0], tokens.shape[1] - max(lengths)

    def logits(self, tokens: Tensor, filler: Tensor | None = None) -> list[Tensor]:
        """Each row's logits [n, V]: the prompts are padded and read in one prefill, then continued token by token.

        `filler` [B, T] replaces the padding token.
        """
        probe = self.probe
        assert probe.subject.prefill is not None
        prompts, real = pad(tokens, self.lengths, self.side, probe.subject.pad)
        if filler is not None:
            prompts[~real] = filler[:, : real.shape[1]][~real]
        logits, cache = probe.read_step(probe.invoke(probe.subject.prefill, prompts, real), prompts)
        rows = [[row[at]] for row, at in zip(logits, real, strict=True)]
        for t in range(self.steps):
            following = torch.stack([row[n + t] for row, n in zip(tokens, self.lengths, strict=True)])
            logits, cache = probe.step(Inputs(following[:, None]), cache)
            for row, step_logits in zip(rows, logits, strict=True):
                row.append(step_logits)
        return [torch.cat(row) for row in rows]

    def differences(self) -> list[Tensor]:
        """[n] of each row: the difference at each position from one forward pass of the row alone."""
        sequences = [row[None, : n + self.steps] for row, n in zip(self.tokens, self.lengths, strict=True)]
        alone = [self.probe.logits(Inputs(sequence))[0] for sequence in sequences]
        return [difference(*pair) for pair in zip(self.logits(self.tokens), alone, strict=True)]

    def changes(self, tokens: Tensor, filler: Tensor | None = None) -> list[float]:
        """The change of each row's logits after its prompt, when it has these tokens."""
        pairs = zip(self.logits(self.tokens), self.logits(tokens, filler), self.lengths, strict=True)
        return [float(difference(before[n:], after[n:]).max()) for before, after, n in pairs]

    def unused_tokens(self) -> list[tuple[int, int]]:
        """Prompt tokens, as (row, position), without influence on the continuation."""
        unused = []
        for s in range(max(self.lengths)):
            replaced = self.tokens.clone()
            replaced[:, s] = self.probe.replacements(replaced)[:, s]
            changes = self.changes(replaced)
            unused += [(row, s) for row, n in enumerate(self.lengths) if s < n and changes[row] <= MIN_INFLUENCE]
        return unused

    def explain(self, differences: list[Tensor]) -> Outcome:
        cause, notes = self._cause(differences)
        row = max(range(len(differences)), key=lambda number: float(differences[number].max()))
        worst = float(differences[row].max())
        case = (
            f"prompts of {', '.join(map(str, self.lengths))} tokens in one batch, then {self.steps} steps: the row of "
            f"{self.lengths[row]} is {worst:.2g} standard deviations of the logits away from the same row alone"
        )
        return failed(cause, worst, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause], notes=notes)

    def _cause(self, differences: list[Tensor]) -> tuple[str, tuple[str, ...]]:
        wrong = [n for n, row in zip(self.lengths, differences, strict=True) if row[n:].max() > TOLERANCE]
        note = f"lengths of prompts whose continuation is wrong: {', '.join(map(str, wrong)) or 'none'}"
        if any(row[:n].max() > TOLERANCE for n, row in zip(self.lengths, differences, strict=True)):
            return "prompt", (note,)
        if max(self.changes(self.tokens, self.probe.replacements(self.tokens))) > TOLERANCE:
            return "padding-attended", (note,)
        if unused := self.unused_tokens():
            row, s = unused[0]
            return "past-cut", (
                note,
                f"token {s} of the prompt of {self.lengths[row]} does not influence the continuation",
            )
        return ("unequal-positions" if max(self.lengths) not in wrong else "differs"), (note,)


DIAGNOSES = {
    "prompt": "The prompts' own logits differ already, before any step: see batches.right-padding and left-padding.",
    "padding-attended": "Steps attend to the padding of shorter prompts: the mask of a step must tell, row by row, "
    "which cached tokens are real.",
    "past-cut": "Part of a prompt is lost: new tokens overwrite it, or a mask of one length is used for all rows.",
    "unequal-positions": "Each prompt is used in full and no padding is, but shorter rows are wrong: their next token "
    "gets the position after the longest prompt. Each row's position is its own number of tokens.",
    "differs": "The longest row is wrong too, though it has no padding: see cache.steps, or look for positions or a "
    "mask that are taken from the shortest row.",
}
