"""What stands between a model's output and its logits where `forward` alone does not give them."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import masks, signature, trial
from clearformer.checks.recognise.outputs import extract_logits, extract_loss, in_rows, tensors_in

TIME_FIRST = re.compile(r"[\[(](t|s|l|time|length|seq\w*|src_len|tgt_len),? ?[x, ] ?(b|n|bsz|bs|batch\w*)\b")
"""in documentation: a shape such as [T, B]"""


def apply(name: str, model: Any, out: Any) -> Any:
    """The output, or with a name what that part of the model makes of it."""
    return signature.method(model, name)(extract_logits(out)) if name else out


def left_to_the_caller(model: Any, call: Callable[..., Any], *inputs: Tensor) -> str:
    """The name of a part that `forward` does not call and that turns its vectors into logits; "" where there is none.

    The Annotated Transformer's generator is such a part.
    """
    if not isinstance(model, nn.Module) or any(tensor.is_floating_point() for tensor in inputs):
        return ""
    called: set[nn.Module] = set()
    parts = {name: part for name, part in model.named_children() if any(True for _ in part.parameters())}
    hooks = [part.register_forward_pre_hook(lambda part, _: called.add(part)) for part in parts.values()]
    try:
        with trial.LookupRecorder() as recorder:
            out = extract_logits(call(model, *inputs))
    finally:
        for hook in hooks:
            hook.remove()
    sizes = {recorder.vocabulary(tokens) for tokens in inputs} - {None, out.shape[-1]}
    for name, part in parts.items():
        if part in called:
            continue
        logits, _ = trial.try_call(part, out)
        if logits is not None and logits.shape[:-1] == out.shape[:-1] and logits.shape[-1] in sizes:
            return name
    return ""


def inner_model(model: Any, call: Callable[[Any, Tensor], Any], tokens: Tensor) -> str:
    """The name of a part that gives logits of tokens where this call gives the loss; "" where there is none."""
    try:
        loss = extract_loss(call(model, tokens.clone()))
    except Exception:  # it is no loss
        return ""
    if not isinstance(model, nn.Module) or not loss.is_floating_point():
        return ""
    for name, part in model.named_children():
        logits, _ = trial.try_call(part, tokens)
        if logits is not None and logits.is_floating_point() and logits.dim() == 3 and logits.shape[:2] == tokens.shape:
            return name
    return ""


def call_part(name: str, model: Any, tokens: Tensor) -> Any:
    """The logits of the part that `inner_model` has found."""
    return signature.method(model, name)(tokens)


def gives_its_loss(call: Callable[..., Any]) -> bool:
    """Whether the logits are those of a part, so that the model's own call is its loss."""
    return isinstance(call, partial) and call.func is call_part


Arrange = Callable[[Any, Any, Tensor], Any]
"""(model, its output, tokens) -> logits in the usual axes"""


def as_it_is(_model: Any, out: Any, _tokens: Tensor) -> Any:
    return out


def rows(_model: Any, out: Any, tokens: Tensor) -> Any:
    """[B, T, V] of [B * T, V]"""
    return in_rows(out, tokens)


def numbers(_model: Any, out: Any, _tokens: Tensor) -> Tensor:
    """[B, T, n] of n tensors [B, T], as the start and the end of an answer; or [B, n] of n tensors [B]."""
    shape = extract_logits(out).shape
    return torch.stack([tensor for tensor in tensors_in(out) if tensor.shape == shape], dim=-1)


def last(_model: Any, out: Any, _tokens: Tensor) -> Any:
    """The last of a list of predictions, one a layer."""
    return out[-1]


def logarithms(_model: Any, out: Any, _tokens: Tensor) -> Tensor:
    """Of probabilities, which are as good as logits."""
    probabilities = extract_logits(out)
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def grows_layer_by_layer(model: Any, call: Callable[..., Any], tokens: Tensor) -> bool:
    """Whether the model returns a list of predictions of one shape of which the last needs more weights than the first.

    Heads for several of the next tokens need the same trunk, and each a head of its own.
    """
    if not isinstance(model, nn.Module):
        return False
    with torch.enable_grad():
        out = call(model, tokens.clone())
        tensors = [one for one in out if isinstance(one, Tensor)] if isinstance(out, list) else []
        if len(tensors) < 2 or len(tensors) != len(out) or len({one.shape for one in tensors}) > 1:
            return False
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if not weights or not all(one.requires_grad for one in tensors):
            return False
        first, final = (
            torch.autograd.grad(one.sum(), weights, retain_graph=True, allow_unused=True)
            for one in (tensors[0], tensors[-1])
        )
    return _size_of_reached(weights, first) < _size_of_reached(weights, final)


def _size_of_reached(weights: list[nn.Parameter], gradients: Sequence[Tensor | None]) -> int:
    return sum(weight.numel() for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None)


def with_head(name: str, model: Any, out: Any, _tokens: Tensor) -> Any:
    return apply(name, model, out)


def call_arranged(arrange: Arrange, call: Callable[[Any, Tensor], Any], model: Any, tokens: Tensor) -> Any:
    return arrange(model, call(model, tokens), tokens)


def is_arranged(call: Callable[..., Any]) -> bool:
    return isinstance(call, partial) and call.func is call_arranged


def unarranged(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call with all that the model returns."""
    return call.args[1] if isinstance(call, partial) and is_arranged(call) else call


def call_time_first(call: Callable[[Any, Tensor], Any], model: Any, tokens: Tensor) -> Tensor:
    """The logits [B, T, V] of tokens [B, T] where both axes are the other way round in the model."""
    return extract_logits(call(model, tokens.transpose(0, 1).contiguous())).transpose(0, 1)


def time_is_first(model: Any, call: Callable[[Any, Tensor], Any]) -> bool:
    """Whether a model reads tokens [T, B] and returns logits [T, B, V], as PyTorch's layers do by default.

    Then a token changes logits in its own column alone, equal columns give equal logits, and equal rows do not; or a
    token changes logits in its column alone, and the documentation says that time is the first axis.
    """
    tokens = (torch.arange(15).view(5, 3) * 5 // 3 + 1) % 2
    changed = tokens.clone()
    changed[2, 1] = 1 - changed[2, 1]
    same_columns = tokens[:, :1].expand(5, 3).contiguous()
    outputs = [trial.try_call(lambda x: call(model, x), x)[0] for x in (tokens, changed, same_columns, tokens * 0)]
    if any(out is None or out.shape[:2] != tokens.shape for out in outputs):
        return False
    before, after, columns, equal = (out for out in outputs if out is not None)
    moved = (before - after).abs().amax(-1) > masks.MIN_CHANGE * before.std()
    others = moved[:, [0, 2]].any() or not moved[[0, 1, 3, 4], 1].any()
    if not others and TIME_FIRST.search(signature.words(model)):
        return True
    across = (columns - columns[:, :1]).abs().max() > masks.MIN_CHANGE * columns.std()
    return bool(not others and not across and (equal[1:] - equal[:-1]).abs().amax() > masks.MIN_CHANGE * before.std())


def call_one_further(call: Callable[[Any, Tensor], Any], model: Any, tokens: Tensor) -> Tensor:
    """The logits of the next token where the model's stand at the token that they predict: of one token more."""
    return extract_logits(call(model, torch.cat([tokens, tokens[:, :1]], dim=1)))[:, 1:]


def reads_one_more(call: Callable[..., Any]) -> bool:
    """Whether the model is given one token more than the call is."""
    return isinstance(call, partial) and call.func is call_one_further


def changes_axes_or_places(call: Callable[..., Any]) -> bool:
    """Whether tokens or logits stand elsewhere in the model than in the call, so that its other methods do not fit."""
    return reads_one_more(call) or (isinstance(call, partial) and call.func is call_time_first)


def stands_at_what_it_predicts(call: Callable[[Any, Tensor], Any], model: Any, tokens: Tensor) -> bool:
    """Whether the logits at t depend on the tokens before t, the last one too, and not on that at t.

    Such a model puts a vector of its own in front and leaves out the last token, so that nobody else has to shift.
    """
    before, _ = trial.try_call(lambda x: call(model, x), tokens)
    if before is None or before.dim() != 3 or before.shape[:2] != tokens.shape:
        return False
    T = tokens.shape[1]  # noqa: N806
    moved = torch.zeros(T, T, dtype=torch.bool)
    for s in range(T):
        after, _ = trial.try_call(lambda x: call(model, x), trial.replace_token(tokens, s))
        if after is None or after.shape != before.shape:
            return False
        moved[:, s] = (before - after).abs().amax((0, 2)) > masks.MIN_CHANGE * before.std()
    return bool(moved.diagonal(-1).all() and not moved.triu().any())
