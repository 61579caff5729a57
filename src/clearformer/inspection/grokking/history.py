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
from clearformer.data.corpora import Equation, EquationCorpus
from clearformer.inspection.grokking import circuit
from clearformer.inspection.grokking.activations import modulus, number_logits, number_rows
from clearformer.inspection.grokking.cycles import CYCLIC, Cycle, cycle
from clearformer.inspection.grokking.fourier import components, gini, key_frequencies
from clearformer.models.build import load_weights
from clearformer.models.gpt import GPT

Weights = Mapping[str, NDArray[np.float32]]
"""of a checkpoint, by name"""


def answers(corpus: EquationCorpus, p: int) -> Int[Tensor, "p p"]:
    """The right answer of every equation, and 0 where there is none (a division by zero)."""
    found = torch.zeros(p, p, dtype=torch.long)
    a, b, c = torch.tensor([*corpus.train, *corpus.validation]).T
    found[a, b] = c
    return found


def pairs(listed: Sequence[Equation], p: int) -> Bool[Tensor, "p p"]:
    """True at [a, b] of the equations that are listed."""
    found = torch.zeros(p, p, dtype=torch.bool)
    a, b, _ = torch.tensor(listed).T
    found[a, b] = True
    return found


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


@dataclass(frozen=True)
class History:
    """Key frequencies of the trained model, none where there is no circle; and the measures at each step."""

    frequencies: list[int]
    measures: list[Measures]


def history(
    model: GPT, checkpoints: Iterable[tuple[int, Weights]], corpus: EquationCorpus, operation: Operation
) -> History:
    """Measure each checkpoint, a step and its weights, of the trained `model`, which stays as it is."""
    frequencies = trained_frequencies(model, operation)
    student = copy.deepcopy(model)
    measures = []
    for step, weights in checkpoints:
        load_weights(student, weights)
        measures.append(measure(student, step, corpus, operation, frequencies))
    return History(frequencies, measures)


def trained_frequencies(model: GPT, operation: Operation) -> list[int]:
    """The key frequencies of the model's logits; none if the operation has no circle."""
    if operation not in CYCLIC:
        return []
    logits = cycle(operation, modulus(model)).logits(number_logits(model))
    return key_frequencies(circuit.circuit_spectrum(logits))


def measure(
    model: GPT, step: int, corpus: EquationCorpus, operation: Operation, frequencies: Sequence[int]
) -> Measures:
    """All measures of a model, with these key frequencies."""
    p, logits = modulus(model), number_logits(model)
    train, held_out = pairs(corpus.train, p), pairs(corpus.validation, p)
    of_train, of_held_out = (circuit.outcome(logits, answers(corpus, p), chosen) for chosen in (train, held_out))
    circle = cycle(operation, p) if operation in CYCLIC else None
    return Measures(
        step,
        of_train.loss,
        of_train.accuracy,
        of_held_out.loss,
        of_held_out.accuracy,
        {name: float(weight.detach().double().square().sum()) for name, weight in model.named_parameters()},
        **(on_circle(model, circle, circle.logits(logits), circle.pairs(train), frequencies) if circle else {}),
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
