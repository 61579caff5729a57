"""A classifier that reads images [B, C, height, width], as ViT (arXiv:2010.11929): its tokens stand for patches.

Each of so many tokens is a patch of its own, of random values; patches that are not given are zero.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import signature, trial
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Subject

PATCHES = 256
"""different ones"""
SIZES = ("image_size", "img_size", "input_size", "resolution", "img_res")
SIDES = (8, 7, 6, 5, 4, 3, 2, 14, 16)
"""of an image, in patches: what is tried where no size is declared"""
CHANNELS = (3, 1)


@dataclass(frozen=True)
class Patches:
    """How tokens become images: the number of channels, a patch's edge in pixels, and an image's edge in patches."""

    channels: int
    edge: int
    side: int

    def images(self, model: Any, tokens: Tensor) -> Tensor:
        """[B, C, height, width] of tokens [B, T], row by row from the upper left."""
        width = self.channels * self.edge**2
        table = torch.randn(PATCHES, width, generator=torch.Generator().manual_seed(0))
        patches = table.to(next(model.parameters()).dtype)[tokens % PATCHES]
        missing = patches.new_zeros(len(tokens), self.side**2 - tokens.shape[1], width)
        grid = torch.cat([patches, missing], dim=1).unflatten(2, (self.channels, self.edge, self.edge))
        return grid.unflatten(1, (self.side, self.side)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)

    def call(self, model: Any, tokens: Tensor) -> Tensor:
        return extract_logits(model(self.images(model, tokens)))


def recognise(model: Any) -> Subject | None:
    """The subject of a model that gives [B, classes] of images; None where it does not."""
    if not isinstance(model, nn.Module) or len(signature.required(signature.parameters(model))) != 1:
        return None
    for patches in _candidates(model):
        tokens = trial.sample_tokens(patches.side)
        out, _ = trial.try_call(partial(patches.call, model), tokens)
        if out is not None and out.dim() == 2 and len(out) == len(tokens) and out.is_floating_point():
            size = patches.edge * patches.side
            shape = f"images [B, {patches.channels}, {size}, {size}]"
            said = f"it reads {shape}, of patches of {patches.edge} x {patches.edge}: one for each token"
            context, name = patches.side**2, f"{signature.name_of(model)}, called as model({shape})"
            fields: dict[str, Any] = {"vocab_size": PATCHES, "context": context, "name": name, "ways": (said,)}
            return Subject(model, call=patches.call, kind="classifier", **fields)
    return None


def _candidates(model: nn.Module) -> Iterator[Patches]:
    """By the first layer that reads an image: a convolution, whose steps are patches, or a matrix for flat patches."""
    declared = signature.declared(model, SIZES)
    first = next((part for part in model.modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None:
        kinds = [(first.in_channels, int(first.stride[0]))]
    else:
        linear = next((part for part in model.modules() if isinstance(part, nn.Linear)), None)
        widths = 0 if linear is None else linear.in_features
        kinds = [
            (channels, math.isqrt(widths // channels))
            for channels in CHANNELS
            if widths and math.isqrt(widths // channels) ** 2 * channels == widths
        ]
    for channels, edge in kinds:
        sides = SIDES if not declared or declared % edge else (declared // edge, *SIDES)
        for side in dict.fromkeys(sides):
            yield Patches(channels, edge, side)
