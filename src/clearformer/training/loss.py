"""Cross-entropy: the negative log-probability of the correct token.

    loss = -Σ_v q_v · log softmax(logits)_v        q = (1 - ε) · [v = target] + ε / V

ε > 0 is label smoothing (Szegedy et al. 2015, arXiv:1512.00567; Vaswani et al. 2017, arXiv:1706.03762, section 5.4).
Means are over predicted tokens, not over batches; padding is not predicted.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearformer.data.batches import IGNORE, Batch
from clearformer.models.last import has_last_logits, last_logits
from clearformer.training.device import autocast, move
from clearformer.training.processes import processes_of, share


def cross_entropy(
    logits: Float[Tensor, "*tokens V"], targets: Int[Tensor, "*tokens"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """The formula, in nats, summed over the tokens whose target is not IGNORE; `summed_loss` runs PyTorch's kernel."""
    predicted = targets != IGNORE
    log_p = logits[predicted].log_softmax(-1)
    log_p_target = log_p.gather(-1, targets[predicted][:, None])[:, 0]
    return -((1 - smoothing) * log_p_target + smoothing * log_p.mean(-1)).sum()


def summed_loss(
    logits: Float[Tensor, "*tokens V"],
    targets: Int[Tensor, "*tokens"],
    smoothing: float = 0.0,
    precision: torch.dtype = torch.float32,
) -> Float[Tensor, ""]:
    """Cross-entropy in nats, summed over the predicted tokens, in `precision` or wider."""
    if precision == torch.float64 and logits.requires_grad:
        logits.register_hook(flush_subnormals)
    return F.cross_entropy(
        logits.flatten(0, -2).to(torch.promote_types(logits.dtype, precision)),
        targets.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="sum",
    )


def flush_subnormals(gradient: Tensor) -> Tensor:
    """0 for numbers below the smallest normal one (1e-38 in float32).

    float64 keeps probabilities that small, as of a learned equation's wrong answers, and a processor takes many times
    as long for a product of such numbers.
    """
    return F.hardshrink(gradient, torch.finfo(gradient.dtype).tiny)


@torch.no_grad()
def mean_loss(model: Any, batches: Iterable[Batch]) -> float:
    """Mean nats per predicted token over `batches`, without label smoothing or dropout; keeps the model's mode."""
    device, training, processes = next(model.parameters()).device, model.training, processes_of(model)
    model.eval()
    total = count = 0.0
    for batch in (share(batch, processes) for batch in batches):
        inputs, targets = [move(array, device) for array in batch.inputs], move(batch.targets, device)
        with autocast(device):
            if has_last_logits(model) and (targets[:, :-1] == IGNORE).all():
                logits, targets = last_logits(model, *inputs), targets[:, -1:]
            else:
                logits = model(*inputs)
        total += summed_loss(logits, targets).item()
        count += int((targets != IGNORE).sum())
    model.train(training)
    total, count = processes.sums(total, count)
    return total / count
