"""Scores of heads: numbers for what a head's attention weights A (T x S) look like.

    entropy    mean over t of -sum_s A[t, s] ln A[t, s], in nats: 0 if every query attends to one key     Clark et al.
    first      mean over t of A[t, 0]                               Xiao et al. 2023, arXiv:2309.17453 ("sink")
    diagonal   mean over t of A[t, t]; of cross-attention, of A[t, round(t (S - 1) / (T - 1))]
    previous   mean over t of A[t, t - 1]                           Clark et al. 2019, arXiv:1906.04341, section 3
    induction  mean over t of A[t, t - n + 1] on n random tokens and the same again, t = n … 2n - 1: from a token to
               the one that followed it the first time              Olsson et al. 2022, arXiv:2209.11895
    monotone   share of t at which argmax A[t] >= argmax A[t - 1]
    alignment  share of t that a given alignment contains, at which it contains (t, argmax A[t])
                                                                    as in Garg et al. 2019, arXiv:1909.02074

Self-attention has the first five, all but entropy without t = 0: a causal model's first token attends to itself alone.
Cross-attention has entropy, first, diagonal, monotone and alignment. Padding does not count. A mean over no t is NaN.
"""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.data.tokenizers import SPECIAL
from clearformer.errors import InspectionError
from clearformer.inspection.families import family, real_tokens
from clearformer.inspection.measures import Queries, Weights, agreement, entropy, induction, monotone, weight_of
from clearformer.inspection.record import record
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT

Scores = dict[tuple[str, int], dict[str, float]]
"""by the name of a core and the number of a head, as `ablate` takes them"""

MAX_RANDOM = 25
"""n of the induction score at most, as in Olsson et al."""


def head_scores(model: nn.Module, inputs: Sequence[Tensor], alignment: Collection[tuple[int, int]] = ()) -> Scores:
    """Score every head on these inputs of the model, by all but induction.

    `alignment` has pairs of a target token, counted as it is written, and a source token, of the pair of texts that a
    translator reads. Raises InspectionError for another's model, or an alignment that does not fit.
    """
    model = family(model)
    with torch.inference_mode(), record(model, "attention") as trace:
        model(*inputs)
    table: Scores = {}
    for core, weights in trace.attention.items():
        queries = real_tokens(model, inputs, core)
        if core.endswith("cross_attention.core"):
            found = cross_scores(weights, queries, inputs[2])
            if alignment:
                found["alignment"] = agreement(weights, alignment)
        else:
            found = self_scores(weights, queries)
        for head in range(weights.shape[1]):
            table[core, head] = {name: float(values[head]) for name, values in found.items()}
    if alignment and not any("alignment" in scores for scores in table.values()):
        raise InspectionError("an alignment is of a translator's source and target, found a model that reads one text")
    return table


def has_induction(model: nn.Module) -> bool:
    """Whether the model reads from left to right, and enough for something to come twice."""
    causal = isinstance(model, GPT) or (isinstance(model, Classifier) and model.config.body == "gpt")
    return causal and family(model).config.context >= 4


def induction_scores(model: nn.Module, *, texts: int = 8, seed: int = 1) -> dict[tuple[str, int], float]:
    """The induction score of every head, on random texts. Raises InspectionError unless `has_induction(model)`."""
    model = family(model)
    n, vocab_size = min(MAX_RANDOM, model.config.context // 2), model.config.vocab_size
    if not has_induction(model):
        raise InspectionError(
            "a GPT, or a classifier on one, with a context of 4 tokens or more was expected, since induction looks "
            f"back; found a {model.config.kind} with a context of {model.config.context}"
        )
    ordinary = min(len(SPECIAL), vocab_size - 1)
    half = torch.randint(ordinary, vocab_size, (texts, n), generator=torch.Generator().manual_seed(seed))
    tokens = half.repeat(1, 2).to(next(model.parameters()).device)
    of_classifier = (torch.ones_like(tokens).bool(), torch.zeros_like(tokens))
    with torch.inference_mode(), record(model, "attention") as trace:
        model(tokens, *(of_classifier if isinstance(model, Classifier) else ()))
    return {
        (core, head): float(score)
        for core, weights in trace.attention.items()
        for head, score in enumerate(induction(weights, n))
    }


def self_scores(weights: Weights, queries: Queries) -> dict[str, Float[Tensor, " H"]]:
    """The scores of self-attention, but induction."""
    t = torch.arange(weights.shape[-1], device=weights.device)[None]
    later = queries & (t > 0)
    return {
        "entropy": entropy(weights, queries),
        "first": weight_of(torch.zeros_like(t), weights, later),
        "diagonal": weight_of(t, weights, later),
        "previous": weight_of((t - 1).clamp(min=0), weights, later),
    }


def cross_scores(weights: Weights, queries: Queries, source: Bool[Tensor, "B S"]) -> dict[str, Float[Tensor, " H"]]:
    """The scores of cross-attention, but alignment; `source` is False for padding."""
    t = torch.arange(weights.shape[-2], device=weights.device)[None]
    T, S = queries.sum(-1, keepdim=True), source.sum(-1, keepdim=True)  # noqa: N806  # without padding
    proportional = (t * (S - 1) / (T - 1).clamp(min=1)).round().long().clamp(max=weights.shape[-1] - 1)
    return {
        "entropy": entropy(weights, queries),
        "first": weight_of(torch.zeros_like(t), weights, queries),
        "diagonal": weight_of(proportional, weights, queries),
        "monotone": monotone(weights, queries),
    }
