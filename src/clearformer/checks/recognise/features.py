"""Sources that are no tokens, as the frames of a sound: each token of a check stands for a frame of its own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

FRAMES = 512
"""different frames; further tokens repeat them"""
WORDS = ("mel", "mels", "features", "feats", "feat", "audio", "speech", "sound", "spectrogram", "frames", "signal")
"""in names of arguments that hold them"""


def forms(model: nn.Module) -> Iterator[Callable[[Any, Tensor], Tensor]]:
    """What makes frames of source tokens [B, S]: [B, F, S] or [B, S, F], of as many numbers as a first layer reads."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            yield partial(_frames, module.in_channels, True)
            yield partial(_frames, module.in_channels, False)
            return
        if isinstance(module, nn.Linear):
            yield partial(_frames, module.in_features, False)
            return


def _frames(width: int, channels_first: bool, model: nn.Module, source: Tensor) -> Tensor:
    table = torch.randn(FRAMES, width, generator=torch.Generator().manual_seed(0))
    frames = table.to(next(model.parameters()).dtype)[source % FRAMES]
    return frames.mT.contiguous() if channels_first else frames
