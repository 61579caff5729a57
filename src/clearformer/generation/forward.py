"""One forward pass in evaluation mode: arrays in, an array out."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.training.device import autocast, move


@torch.inference_mode()
def logits_of(model: Any, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
    """Logits for a batch's `inputs`; the model must be in evaluation mode."""
    device = next(model.parameters()).device
    with autocast(device):
        logits = model(*(move(array, device) for array in inputs))
    return logits.float().cpu().numpy()
