"""The matrices with a row for each token of the vocabulary: input embeddings and output projections."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.probe import Inputs, Probe

MIN_CHANGE = 1e-5
"""standard deviations of the logits"""


@dataclass(frozen=True)
class VocabularyMatrices:
    """Names of parameters; a tied one is in both."""

    inputs: frozenset[str]
    outputs: frozenset[str]


@torch.no_grad()
def find_vocabulary_matrices(probe: Probe) -> VocabularyMatrices:
    """Find both kinds of matrices by their effect: noise is added to one row at a time.

    In an output projection, the row of a token changes that token's logit alone. In an input embedding, the row of a
    token that is not in the sequence changes no other logit, and that of a token in the sequence does.
    Raises DoesNotApply for a vocabulary of fewer than 4 unreserved tokens.
    """
    V = probe.subject.vocab_size  # noqa: N806
    width = probe.logits(probe.inputs(1)).shape[-1]
    unreserved = [token for token in range(min(V or 0, width)) if token not in probe.subject.reserved]
    if len(unreserved) < 4:
        raise DoesNotApply("the model reads no tokens, or too few to find its embedding")
    absent, present = unreserved[-2:]  # the last, as a table of positions uses its first rows for any sequence
    tokens = torch.full((1, probe.length(2)), present)
    sequence = Inputs(tokens, source=tokens if probe.kind == "encoder-decoder" else None)
    before = probe.logits(sequence)
    inputs, outputs = set(), set()
    for name, weight in probe.module.named_parameters():
        for axis in (0, 1):
            if weight.dim() == 2 and weight.shape[axis] > present:
                changed = _changed_logits(probe, sequence, before, weight.select(axis, absent))
                is_output = bool(changed[absent])
                changed[absent] = False
                if changed.any():
                    continue
                outputs |= {name} if is_output else set()
                changed = _changed_logits(probe, sequence, before, weight.select(axis, present))
                changed[present] = False
                inputs |= {name} if changed.any() else set()
    return VocabularyMatrices(frozenset(inputs), frozenset(outputs))


def _changed_logits(probe: Probe, sequence: Inputs, before: Tensor, row: Tensor) -> Tensor:
    """Boolean [V]: the tokens whose logits differ from `before` when noise is added to the row."""
    original = row.clone()
    noise = torch.randn(row.shape, generator=torch.Generator().manual_seed(probe.seed)).to(row)
    row.add_(noise * max(float(row.abs().mean()), 1e-3))
    changed = (probe.logits(sequence) - before).abs().amax((0, 1)) > MIN_CHANGE * before.std()
    row.copy_(original)
    return changed
