"""The measures of grokking by step: what a run's checkpoints say about how its circuit came to be.

The key frequencies are those of the trained model, at every step: before it uses them, they tell nothing yet.
                                                     Nanda et al. 2023, arXiv:2301.05217, section 5
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from torch import Tensor

from clearformer.config import Operation
from clearformer.data.corpora import EquationCorpus
from clearformer.inspection.grokking import circuit
from clearformer.inspection.grokking.activations import modulus, number_logits, number_rows
from clearformer.inspection.grokking.cycles import CYCLIC, Cycle, cycle
from clearformer.inspection.grokking.fourier import components, gini, key_frequencies
from clearformer.models.build import load_weights
from clearformer.models.gpt import GPT

Weights = Mapping[str, NDArray[np.float32]]
"""of a checkpoint, by name"""


@dataclass(frozen=True)
class Table:
    """Every equation of an operation, at [a, b]."""

    operation: Operation
    answers: Int[Tensor, "p p"]
    """0 where there is none (a division by zero)"""
    train: Bool[Tensor, "p p"]
    held_out: Bool[Tensor, "p p"]


def tabulate(corpus: EquationCorpus, operation: Operation, p: int) -> Table:
    """The corpus as a table."""
    answers = torch.zeros(p, p, dtype=torch.long)
    train, held_out = torch.zeros(2, p, p, dtype=torch.bool)
    for listed, chosen in ((corpus.train, train), (corpus.validation, held_out)):
        a, b, c = torch.tensor(listed).T
        answers[a, b], chosen[a, b] = c, torch.tensor(True)
    return Table(operation, answers, train, held_out)


@dataclass(frozen=True)
class Measures:
    """A model at a step. Losses are in nats; those that need a circle are None where the operation has none."""

    step: int
    loss: float
    accuracy: float
    """share, 0 to 1"""
    held_out_loss: float
    held_out_accuracy: float
    squared_weights: dict[str, float]
    """the sum of squares of each parameter"""
    restricted_loss: float | None = None
    """over all equations, of the logits' part along cos(w_k (a + b)) and sin(w_k (a + b)) alone"""
    excluded_loss: float | None = None
    """over the training equations, of the logits without that part"""
    explained: float | None = None
    """share of the logits' variance that the rebuilt circuit has"""
    embedding_gini: float | None = None
    unembedding_gini: float | None = None
    """inequality of the norms of their Fourier components, 0 to 1"""

    @property
    def total_squared_weights(self) -> float:
        """The sum of squares of all parameters."""
        return sum(self.squared_weights.values())


@dataclass(frozen=True)
class History:
    """Key frequencies of the trained model, none where there is no circle; and the measures at each step."""

    frequencies: list[int]
    measures: list[Measures]


def history(
    model: GPT, checkpoints: Iterable[tuple[int, Weights]], corpus: EquationCorpus, operation: Operation
) -> History:
    """Measure each checkpoint, a step and its weights, of the trained `model`, which stays as it is."""
    frequencies, table = trained_frequencies(model, operation), tabulate(corpus, operation, modulus(model))
    student = copy.deepcopy(model)
    measures = []
    for step, weights in checkpoints:
        load_weights(student, weights)
        measures.append(measure(student, step, table, frequencies))
    return History(frequencies, measures)


def trained_frequencies(model: GPT, operation: Operation) -> list[int]:
    """The key frequencies of the model's logits; none if the operation has no circle.

    The circuit's waves are few among all waves of a, b and c, so that what was memorised has almost no part in them.
    The embedding keeps more frequencies, which the logits may not use: the paper's model has a sixth of that kind.
    """
    if operation not in CYCLIC:
        return []
    logits = cycle(operation, modulus(model)).logits(number_logits(model))
    return key_frequencies(circuit.circuit_spectrum(logits))


def measure(model: GPT, step: int, table: Table, frequencies: Sequence[int]) -> Measures:
    """All measures of a model, with these key frequencies."""
    logits = number_logits(model)
    of_train, of_held_out = (circuit.outcome(logits, table.answers, chosen) for chosen in (table.train, table.held_out))
    circle = cycle(table.operation, len(logits)) if table.operation in CYCLIC else None
    return Measures(
        step,
        of_train.loss,
        of_train.accuracy,
        of_held_out.loss,
        of_held_out.accuracy,
        {name: float(weight.detach().double().square().sum()) for name, weight in model.named_parameters()},
        **(on_circle(model, circle, circle.logits(logits), circle.pairs(table.train), frequencies) if circle else {}),
    )


def on_circle(
    model: GPT, circle: Cycle, logits: circuit.Logits, train: Bool[Tensor, "n n"], frequencies: Sequence[int]
) -> dict[str, float]:
    """The measures that need a circle, by the names of their fields."""
    right, every = circuit.sums(len(circle)), torch.ones_like(train)
    embedding, unembedding = (
        number_rows(weight)[circle.first] for weight in (model.embedding.weight, model.output_projection.weight)
    )
    return {
        "restricted_loss": circuit.outcome(circuit.restricted(logits, frequencies), right, every).loss,
        "excluded_loss": circuit.outcome(circuit.excluded(logits, frequencies), right, train).loss,
        "explained": circuit.explained_share(logits, frequencies),
        "embedding_gini": gini(components(embedding)),
        "unembedding_gini": gini(components(unembedding)),
    }
