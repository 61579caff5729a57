"""The matrices that have a row for each token: those that tokens are looked up in, and those that make the logits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.probe import Inputs, Probe

MOVED = 1e-5
"""a share of the logits' spread"""


@dataclass(frozen=True)
class VocabularyMatrices:
    """Names of parameters; a tied one is in both."""

    inputs: frozenset[str]
    outputs: frozenset[str]


@torch.no_grad()
def find_vocabulary_matrices(probe: Probe) -> VocabularyMatrices:
    """Known by what they do: the row of a token that is not in the text moves that token's logit alone, and then the
    matrix makes logits, or nothing; the row of one that is in the text moves the logits of others, if it is looked up.
    """
    V = probe.subject.vocab_size  # noqa: N806
    free = [token for token in range(V or 0) if token not in probe.subject.reserved]
    if len(free) < 4:
        raise DoesNotApply("the model reads no tokens, or too few to tell the rows of a matrix apart")
    absent, read = free[-2:]  # the last ones, as the first rows of a table of positions are looked up for any text
    tokens = torch.full((1, probe.length(2)), read)
    text = Inputs(tokens, source=tokens if probe.kind == "encoder-decoder" else None)
    before = probe.logits(text)
    inputs, outputs = set(), set()
    for name, weight in probe.module.named_parameters():
        for axis in (0, 1):
            if weight.dim() == 2 and weight.shape[axis] > absent:
                others = _moved(probe, text, before, weight.select(axis, absent))
                own = bool(others[absent])
                others[absent] = False
                if others.any():
                    continue
                outputs |= {name} if own else set()
                by_read = _moved(probe, text, before, weight.select(axis, read))
                by_read[read] = False
                inputs |= {name} if by_read.any() else set()
    return VocabularyMatrices(frozenset(inputs), frozenset(outputs))


def _moved(probe: Probe, text: Inputs, before: Tensor, row: Tensor) -> Tensor:
    """[V]: whose logits move from `before` when noise is added to the row."""
    kept = row.clone()
    noise = torch.randn(row.shape, generator=torch.Generator().manual_seed(probe.seed)).to(row)
    row.add_(noise * max(float(row.abs().mean()), 1e-3))
    moved = (probe.logits(text) - before).abs().amax((0, 1)) > MOVED * before.std()
    row.copy_(kept)
    return moved
