"""Who influences whom: measured from outside, by exchanging tokens and by gradients, and what its pattern means."""

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.probe import Inputs, Probe, difference

TOLERANCE = 1e-4
"""a share of the logits' spread: noise of float32 stayed below 1e-5 in all models tried, influence above 1e-3"""
MIN_INFLUENCE = 1e-6
"""a share of the logits' spread: a token far away may have little influence, but none gives 0.0"""


def influence(probe: Probe, inputs: Inputs, positions: list[int] | None = None) -> Tensor:
    """[T, P]: how far the logits at t move when the token at each of P positions (by default all) is exchanged.

    `inputs` has one row. All changes are tried in one batch, beside the unchanged row.
    """
    changed = list(range(inputs.tokens.shape[1])) if positions is None else positions
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(len(changed) + 1, dim=0))
    new = probe.other(inputs.tokens)[0]
    for row, s in enumerate(changed, 1):
        rows.tokens[row, s] = new[s]
    logits = probe.logits(rows)
    return torch.stack([difference(logits[row], logits[0]) for row in range(1, len(rows.tokens))], dim=1)


def future_influence(moved: Tensor, positions: list[int] | None = None) -> float:
    """The largest influence on a place before the one that was changed."""
    at = torch.arange(len(moved)) if positions is None else torch.tensor(positions)
    return float(moved.masked_fill(torch.arange(len(moved))[:, None] >= at, 0.0).max())


def self_attentions(probe: Probe, inputs: Inputs) -> list[Attention]:
    """Those over the tokens alone; of an encoder-decoder whose source is as long, none can be told apart."""
    T = inputs.tokens.shape[1]  # noqa: N806
    return [attention for attention in record_attention(probe, inputs) if attention.used.shape[-2:] == (T, T)]


def distinct_tokens(probe: Probe) -> Inputs:
    """One row of tokens that differ from each other and from the source's, of the upper half of the vocabulary.

    A table of positions has its gradients in the lower rows, so it cannot pass for one of these tokens.
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
        raise DoesNotApply(f"of {V} tokens too few can be drawn for a text in which none comes twice")
    return Inputs(tokens[None, :T], source=tokens[None, T : T + S] if S else None)


def embedding_gradients(probe: Probe, inputs: Inputs, t: int) -> Tensor:
    """[T]: the size of the gradient that one logit at t gives to each of the `distinct` tokens.

    It is read in the row of each token in a table of embeddings. A weight is such a table if tokens that are not in the
    text get no gradient in it, but for the one whose logit is taken, since the output may share the table.
    """
    if inputs.tokens.dim() == 3:
        tables = [inputs.tokens.requires_grad_()]
    else:
        tables = [weight for weight in probe.module.parameters() if weight.dim() == 2 and weight.requires_grad]
    texts = [tokens[0] for tokens in (inputs.tokens, inputs.source) if tokens is not None]
    V = probe.subject.vocab_size or 1  # noqa: N806
    absent = [v for v in range(V) if v not in set(torch.cat(texts).flatten().tolist())]
    with torch.enable_grad():
        logit = probe.logits(inputs)[0, t, absent[0]]
        if not logit.requires_grad:
            raise DoesNotApply("the logits have no gradient")
        gradients = torch.autograd.grad(logit, tables, allow_unused=True)
    if inputs.tokens.dim() == 3:
        return torch.zeros(len(inputs.tokens[0])) if gradients[0] is None else gradients[0][0].abs().amax(-1)
    found = [gradient for gradient in gradients if gradient is not None and len(gradient) >= V]
    rows = [gradient[inputs.tokens[0]].abs().amax(-1) for gradient in found if not gradient[absent[1:]].any()]
    if not rows:
        raise DoesNotApply("no table was found of which only the rows of the text's tokens get a gradient")
    return torch.stack(rows).amax(0)
