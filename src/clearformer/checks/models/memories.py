"""Memories of the segments before, with which a model is trained on a text that is longer than its context."""

from typing import Any

import torch
from torch import nn

from clearformer.checks.outcome import ModelCrashed, Outcome, failed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.outputs import tensors_in
from clearformer.checks.recognise.steps import FoundStep

NAMES = ("mem", "mems", "memory", "memories")
"""of what is trained on, segment after segment; a cache of keys and values is for writing, where nothing is trained"""


def kept_graph(probe: Probe) -> Outcome | None:
    """A failure where the second segment's logits have a gradient at the memories of the first; else None.

    What is of one size for segments of any length is a state, which may have one.
    """
    step = probe.subject.step
    named = isinstance(step, FoundStep) and signature.has_word(step.form.cache, NAMES)
    T = probe.length() // 3  # noqa: N806
    if not named or not T or not isinstance(probe.model, nn.Module):
        return None
    inputs = probe.inputs(2, 3 * T)
    probe.model.train()
    try:
        with torch.enable_grad():
            (_, shorter), (_, longer) = (_read(probe, inputs, 0, end, None) for end in (T, 2 * T))
            held = [one for one in tensors_in(shorter) if one.requires_grad]
            if not held or _size(shorter) == _size(longer):
                return None
            logits, _ = _read(probe, inputs, T, 2 * T, shorter)
            reached = torch.autograd.grad(logits.sum(), held, allow_unused=True)
    except ModelCrashed:  # other checks say so
        return None
    finally:
        probe.model.eval()
    kept = sum(gradient is not None and bool(gradient.any()) for gradient in reached)
    if not kept:
        return None
    case = f"the second segment's logits have a gradient at {kept} tensors of the first one's memories"
    return failed("graph-kept", kept, 0, case=case, diagnosis=DIAGNOSIS)


def _read(probe: Probe, inputs: Inputs, start: int, end: int, cache: Any) -> Any:
    """Logits of these tokens, and the cache."""
    return probe.step(inputs.replace(tokens=inputs.tokens[:, start:end]), cache)


def _size(cache: Any) -> int:
    return sum(one.numel() for one in tensors_in(cache))


DIAGNOSIS = (
    "Memories carry the graph of the segment that they come from, so that a second backward pass fails, or grows with "
    "every segment: detach() them before they are returned (Transformer-XL, arXiv:1901.02860, section 3.2)."
)
