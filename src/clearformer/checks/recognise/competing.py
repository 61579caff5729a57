"""Rows of a batch that compete for places, as in a mixture whose experts take so many tokens and no more.

Then a row may lose a token to another row, by design (Switch Transformer, arXiv:2101.03961, section 2.2), and only rows
that are computed alone can be compared.
"""

import dataclasses
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise.experiment import Experiment, attempt, same
from clearformer.checks.recognise.found_loss import FoundLoss
from clearformer.checks.recognise.loss_values import IGNORE
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Subject

ROWS, DRAWS = 4, 4
SAID = "rows of a batch compete for places, as those of experts, so that each is computed alone"


def alone(subject: Subject, experiment: Experiment) -> Subject | None:
    """The subject with a call that computes each row alone, where rows compete; else None.

    Without padding, since a longer row has more places.
    """
    if subject.kind == "encoder-decoder" or not _compete(experiment):
        return None
    call = partial(_row_by_row, subject.call)
    return dataclasses.replace(subject, call=call, padded=None, prefixed=None, ways=(*subject.ways, SAID))


def loss_of_rows(loss: FoundLoss, model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    """The mean over all labels that count, of rows that are computed alone."""
    values = [loss(model, tokens[row : row + 1], labels[row : row + 1]) for row in range(len(tokens))]
    if loss.kind == "classifier":
        return torch.stack(values).mean()
    counted = (labels[:, 1:] if loss.kind == "causal" else labels) != IGNORE
    return (torch.stack(values) * counted.sum(1)).sum() / counted.sum()


def _row_by_row(call: Any, model: Any, *tensors: Tensor) -> Tensor:
    rows = range(len(tensors[0]))
    return torch.cat([extract_logits(call(model, *(one[row : row + 1] for one in tensors))) for row in rows])


def _compete(experiment: Experiment) -> bool:
    """Whether another row's tokens change a row's logits, and yet these have no gradient in that row's embeddings.

    What mixes rows by mistake, a mean or a softmax along the wrong axis, has one; a choice among tokens has none.
    """
    vocabulary = experiment.subject.vocab_size or 0
    tokens = [token for token in range(vocabulary) if token not in experiment.subject.reserved]
    place, half = tokens[-1], len(tokens) // 2
    first, second = torch.tensor(tokens[:half]), torch.tensor(tokens[half:-1])
    if len(first) < 2 or len(second) < 2:
        return False
    mixed = False
    for _ in range(DRAWS):
        rows = [experiment.draw(experiment.length) for _ in range(ROWS // 2)]
        others, last = (torch.cat(rows) % len(one) for one in (first, second))
        batch = torch.cat([first[others], second[last]])
        logits = attempt(lambda batch=batch: extract_logits(experiment.subject.call(experiment.model, batch)))
        parts = attempt(partial(_row_by_row, experiment.subject.call), experiment.model, batch)
        if logits is None or parts is None or logits.shape != parts.shape:
            return False
        if same(logits, parts):
            continue
        mixed = True
        if _has_gradient(experiment, batch, place, first, second, experiment.length):
            return False
    return mixed


def _has_gradient(
    experiment: Experiment, batch: Tensor, place: int, first: Tensor, second: Tensor, length: int
) -> bool:
    """Whether the last rows' logits have a gradient at the first rows' embeddings, or none at their own."""
    named = [weight for weight in experiment.model.parameters() if weight.requires_grad and weight.dim() == 2]
    tables = [weight for weight in named if len(weight) > place]
    first = first[first >= length]  # lower rows of a table of positions are read by all
    with torch.enable_grad():
        logits = extract_logits(experiment.subject.call(experiment.model, batch))
        of_one = logits[len(batch) // 2 :, ..., min(place, logits.shape[-1] - 1)]
        if not tables or not of_one.requires_grad:
            return True
        gradients = torch.autograd.grad(of_one.sum(), tables, allow_unused=True)
    dense = [gradient.to_dense() for gradient in gradients if gradient is not None]
    absent = second[~torch.isin(second, batch)]
    embeddings = [one for one in dense if one[second].any() and not one[absent].any()]
    return not embeddings or any(bool(gradient[first].any()) for gradient in embeddings)
