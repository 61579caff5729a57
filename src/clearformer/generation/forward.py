"""One look at a whole batch by a trained model: arrays in, an array out."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.training.device import autocast, move


@torch.inference_mode()
def logits_of(model: Any, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
    """What a model in evaluation mode says of a batch's `inputs`."""
    device = next(model.parameters()).device
    with autocast(device):
        logits = model(*(move(array, device) for array in inputs))
    return logits.float().cpu().numpy()
