"""Which token influences which logit, measured from outside: by replacing tokens, and by gradients."""

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.uses import weight_uses

TOLERANCE = 1e-4
"""standard deviations of the logits: float32 noise stayed below 1e-5 in all models tried, influence above 1e-3"""
MIN_INFLUENCE = 1e-6
"""standard deviations of the logits: a distant token may have little influence, but none gives exactly 0"""


def influence(probe: Probe, inputs: Inputs, positions: list[int] | None = None) -> Tensor:
    """[T, P]: the change of the logits at t when the token at each of P positions (default: all) is replaced.

    In standard deviations of the logits. `inputs` has one row; all replacements go into one batch with it.
    """
    replaced = list(range(inputs.tokens.shape[1])) if positions is None else positions
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(len(replaced) + 1, dim=0))
    new = probe.replacements(inputs.tokens)[0]
    for row, s in enumerate(replaced, 1):
        rows.tokens[row, s] = new[s]
    logits = probe.logits(rows)
    return torch.stack([difference(logits[row], logits[0]) for row in range(1, len(rows.tokens))], dim=1)


def future_influence(changes: Tensor, positions: list[int] | None = None) -> float:
    """The largest influence of a token on an earlier position, from the [T, P] of `influence`."""
    at = torch.arange(len(changes)) if positions is None else torch.tensor(positions)
    return float(changes.masked_fill(torch.arange(len(changes))[:, None] >= at, 0.0).max())


def self_attentions(probe: Probe, inputs: Inputs) -> list[Attention]:
    """Attention among the tokens, recognised by its shape [T, T]; a source of length T cannot be told apart."""
    T = inputs.tokens.shape[1]  # noqa: N806
    return [attention for attention in record_attention(probe, inputs) if attention.applied.shape[-2:] == (T, T)]


def distinct_tokens(probe: Probe) -> Inputs:
    """One row without repeated tokens, in the source neither, from the upper half of the vocabulary.

    A table of positions gets its gradients in the lower rows, so it cannot be mistaken for the embedding.
    """
    V = probe.subject.vocab_size  # noqa: N806
    if V is None:
        return probe.inputs(1)
    tokens = torch.randperm(V, generator=probe.generator)
    tokens = tokens[~torch.isin(tokens, torch.tensor(probe.subject.reserved, dtype=torch.int64))]
    tokens = tokens[tokens >= V // 2]
    S = 2 if probe.kind == "encoder-decoder" else 0  # noqa: N806
    T = min(probe.max_length, V // 2 - S, len(tokens) - S)  # noqa: N806
    if T < 3:
        raise DoesNotApply(f"a vocabulary of {V} is too small for a sequence without repeated tokens")
    return Inputs(tokens[None, :T], source=tokens[None, T : T + S] if S else None)


def embedding_gradients(probe: Probe, inputs: Inputs, t: int) -> Tensor:
    """[T]: the size of the gradient of one logit at t in the embedding of each token of `distinct_tokens`.

    The logit is that of a token that is not in the sequence, since the output may share the matrix.
    """
    if inputs.tokens.dim() == 3:
        matrices = [inputs.tokens.requires_grad_()]
    else:
        named = dict(probe.module.named_parameters())
        matrices = [named[name] for name in weight_uses(probe, inputs).looked_up if named[name].requires_grad]
    sequences = [tokens[0] for tokens in (inputs.tokens, inputs.source) if tokens is not None]
    V = probe.subject.vocab_size or 1  # noqa: N806
    absent = [v for v in range(V) if v not in set(torch.cat(sequences).flatten().tolist())]
    with torch.enable_grad():
        logit = probe.logits(inputs)[0, t, absent[0]]
        if not logit.requires_grad or not matrices:
            raise DoesNotApply("the logits have no gradient at an embedding, a matrix that is looked up by the tokens")
        gradients = torch.autograd.grad(logit, matrices, allow_unused=True)
    if inputs.tokens.dim() == 3:
        return torch.zeros(len(inputs.tokens[0])) if gradients[0] is None else gradients[0][0].abs().amax(-1)
    found = [gradient.to_dense() for gradient in gradients if gradient is not None]
    by_row = [gradient if len(gradient) >= V else gradient.T for gradient in found]
    rows = [gradient[inputs.tokens[0]].abs().amax(-1) for gradient in by_row if len(gradient) >= V]
    if not rows:
        raise DoesNotApply("no embedding was found, a matrix of which rows are looked up by the tokens")
    return torch.stack(rows).amax(0)
