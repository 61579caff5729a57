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
from clearformer.training.device import autocast, move


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
    return F.cross_entropy(
        logits.flatten(0, -2).to(torch.promote_types(logits.dtype, precision)),
        targets.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="sum",
    )


@torch.no_grad()
def mean_loss(model: Any, batches: Iterable[Batch]) -> float:
    """Mean nats per predicted token over `batches`, without label smoothing or dropout; keeps the model's mode."""
    device, training = next(model.parameters()).device, model.training
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        targets = move(batch.targets, device)
        with autocast(device):
            logits = model(*(move(array, device) for array in batch.inputs))
        total += summed_loss(logits, targets).item()
        count += int((targets != IGNORE).sum())
    model.train(training)
    return total / count
