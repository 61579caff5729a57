"""Bugs in the textbook's classifier, set aside while the checks are written."""

from bare.answers import REGISTERED, ROWS
from bare.bug import Bug

BUGS = (
    Bug(
        "positions-a-parameter-times-a-number",
        "parameters",
        "nn.Parameter(torch.randn(context, width) * 0.02)",
        "nn.Parameter(torch.randn(context, width)) * 0.02",
        "positions are a parameter times a number, which is a plain tensor: no optimizer sees it",
        REGISTERED,
        "pytorch/pytorch #17484",
    ),
    Bug(
        "softmax-over-the-rows",
        "batches",
        "return self.output(x.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1))",
        "return self.output(x.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)).softmax(dim=0)",
        "the classes' logits go through a softmax over the rows of the batch",
        ROWS,
    ),
)
