"""Positions that are given beside the tokens."""

import torch
from torch import nn

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference


def default(probe: Probe) -> Outcome:
    """Without positions the model counts from 0.

    Whoever pads on the left, or packs several texts into one row, says where each token stands, beginning with 0.
    Where the model by itself counts from another number, the same text is read in two ways.

    The logits with the positions 0, 1, 2, ... must be those without; or those with positions that follow the row which
    a table of positions keeps for padding, as fairseq's does.
    """
    inputs, pad = probe.inputs(2), _row_of_padding(probe)
    error = _distance(probe, inputs, 0)
    if error > TOLERANCE and pad is not None:
        error = min(error, _distance(probe, inputs, pad + 1))
    if error <= TOLERANCE:
        return passed(error, TOLERANCE)
    case = f"with the positions 0, 1, 2, ... the logits are {error:.2g} standard deviations from those without"
    diagnosis = "Without positions the model counts otherwise than from 0 in steps of 1: see how it makes its default."
    return failed("other-default", error, TOLERANCE, case=case, diagnosis=diagnosis)


def _row_of_padding(probe: Probe) -> int | None:
    """Of a table that is not that of the tokens, if one has such a row."""
    tables = [part for part in probe.module.modules() if isinstance(part, nn.Embedding)]
    others = [table.padding_idx for table in tables if table.num_embeddings != probe.subject.vocab_size]
    return next((row for row in others if row is not None), None)


def _distance(probe: Probe, inputs: Inputs, start: int) -> float:
    """Of the logits without positions from those with positions that are counted from `start`."""
    positions = (torch.arange(inputs.tokens.shape[1]) + start).expand(inputs.tokens.shape).clone()
    assert probe.subject.positions is not None
    given = probe.read_logits(probe.invoke(probe.subject.positions, inputs.tokens, positions), inputs.tokens)
    return float(difference(given, probe.logits(inputs)).max())
