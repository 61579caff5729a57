"""Try a model on a few inputs: which calls work, how long inputs may be, and which embeddings are looked up."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import MAX_LENGTH
from clearformer.checks.weights import as_written, preserve_state, randomise_weights

ROWS, LENGTH = 2, 8
"""the size of a trial: unequal, so that the axes can be told apart"""


@contextlib.contextmanager
def trial_mode(model: Any) -> Iterator[None]:
    """Evaluation mode with random weights, so that every input has an effect; the model is restored on exit."""
    with preserve_state(model), as_written(), torch.no_grad():
        torch.manual_seed(0)
        if isinstance(model, nn.Module):
            model.eval()
        randomise_weights(model, 0)
        yield


def try_call(call: Callable[..., Any], *inputs: Tensor) -> tuple[Tensor | None, str]:
    """The logits that a call returns and their type and shape as text; or None and the error."""
    try:
        out = extract_logits(call(*(tensor.clone() for tensor in inputs)))
    except ModelCrashed as crash:
        return None, str(crash)
    except Exception as error:
        return None, describe_error(error)
    return out, f"{str(out.dtype).removeprefix('torch.')} {list(out.shape)}"


def sample_tokens(length: int = LENGTH, pad: int | None = None) -> Tensor:
    """[2, length] of the tokens 0 and 1, which are in every vocabulary, and not in the order of positions.

    With a padding token there are three tokens or more, and the other two are taken.
    """
    tokens = (torch.arange(ROWS * length).view(ROWS, length) * 5 // 3 + 1) % 2
    return tokens if pad is None else tokens.masked_fill(tokens == pad, 2)


def replace_token(tokens: Tensor, position: int) -> Tensor:
    """The sample tokens, or vectors, with another one at that position of every row."""
    replaced = tokens.clone()
    both = 1 if tokens.is_floating_point() else tokens.min() + tokens.max()
    replaced[:, position] = both - replaced[:, position]
    return replaced


class LookupRecorder(TorchDispatchMode):
    """Records embedding lookups as (shape of the table, indices), whether by nn.Embedding or by indexing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lookups: list[tuple[torch.Size, Tensor]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, since skipping the compiler imports it first, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.embedding.default:
            self.lookups.append((args[0].shape, args[1]))
        elif func is torch.ops.aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.int64:
            self.lookups.append((args[0].shape, args[1][0]))
        return func(*args, **(kwargs or {}))

    def table(self, tokens: Tensor) -> torch.Size | None:
        """The shape of the first table in which these tokens were looked up, in rows or in columns."""
        both = [tokens.flatten(), tokens.mT.flatten()]
        return next((shape for shape, at in self.lookups if any(torch.equal(at.flatten(), one) for one in both)), None)

    def vocabulary(self, tokens: Tensor) -> int | None:
        """The number of rows of that table."""
        table = self.table(tokens)
        return None if table is None else table[0]

    def context(self, length: int) -> int | None:
        """The length of a table of positions, if one was looked up at `length` consecutive positions."""
        for (rows, *_), at in self.lookups:
            if at.numel() % length == 0 and at.shape[-1:] == (length,) and (at.diff(dim=-1) == 1).all():
                return rows - int(at.flatten()[0])
        return None


def vocabulary_and_context(model: Any, call: Callable[[Any, Tensor], Any], length: int) -> tuple[int, int | None]:
    """As declared; else from the embeddings that are looked up; else from the output and from longer inputs.

    An embedding may have more rows than there are tokens, up to a round number: only those with a logit count.
    """
    pad = signature.padding_token(model)
    tokens = sample_tokens(length, pad)
    with LookupRecorder() as recorder:
        out = extract_logits(call(model, tokens))
    vocabulary = signature.declared(model, signature.VOCABULARIES) or recorder.vocabulary(tokens) or out.shape[-1]
    table = recorder.table(tokens)
    if out.dim() > 2 and table is not None and out.shape[-1] != table[-1] and 2 * out.shape[-1] > vocabulary:
        vocabulary = min(vocabulary, out.shape[-1])  # of logits for tokens, and not vectors or labels
    context = signature.declared(model, signature.CONTEXTS) or recorder.context(length)
    if context is None:
        context = find_max_length(
            lambda n: try_call(partial(call, model), sample_tokens(n, pad))[0] is not None, length
        )
    return vocabulary, context


def find_max_length(works: Callable[[int], bool], length: int) -> int | None:
    """The longest input that works, found by bisection from `length` on; None where MAX_LENGTH works."""
    low, high = length, MAX_LENGTH
    if works(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if works(middle) else (low, middle)
    return low
