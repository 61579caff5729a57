"""What a plain model takes beside tokens: a padding mask, targets, a cache."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from clearformer.checks.recognise import outputs, plain_masks, signature
from clearformer.checks.recognise.plain_masks import MaskedCall
from clearformer.checks.subject import Kind

TARGETS = ("targets", "target", "y", "labels")
IGNORE_INDICES = (-1, -100)
"""labels that a loss may ignore: in nanoGPT, and in PyTorch"""
CACHES = ("past_key_values", "kv_cache", "cache", "past_kvs", "past_kv", "past")

Call = Callable[[Any, Tensor], Any]


def optional_fields(model: Any, kind: Kind, call: Call, masked: MaskedCall | None, tokens: Tensor) -> dict[str, Any]:
    """The fields of Subject for padding, loss and cache. `masked` is the call with a mask, where one is required."""
    fields = _padded(model, kind, call, masked, tokens)
    parameters = signature.parameters(model)
    if kind != "causal":
        return fields
    return fields | _loss(model, parameters, tokens) | _step(model, parameters, tokens)


def _padded(model: Any, kind: Kind, call: Call, masked: MaskedCall | None, tokens: Tensor) -> dict[str, Any]:
    """By a mask that hides padding; else by the padding token; else, in a causal model, by nothing."""
    pad = signature.declared(model, signature.PADS)
    fields: dict[str, Any] = {} if pad is None else {"pad": pad, "reserved": (pad,)}
    parameters = signature.parameters(model)
    names = [name for name in plain_masks.NAMES_OF_PADDING if name in parameters] if masked is None else []
    found = [plain_masks.find_masked_call(model, name, kind, tokens, (False,)) for name in names]
    for masked_call in [one for one in (masked, *found) if one is not None and one.can_hide_padding]:
        if (
            masked_call is masked
            or masked_call.name == "attention_mask"
            or masked_call.hides_what_it_should(model, tokens, kind)
        ):
            return fields | {"padded": masked_call}
    if pad is not None and not tokens.is_floating_point():
        return fields | {"padded": lambda model, tokens, real: call(model, tokens.masked_fill(~real, pad))}
    return fields | ({"padded": lambda model, tokens, _real: call(model, tokens)} if kind == "causal" else {})


def _loss(model: Any, parameters: Any, tokens: Tensor) -> dict[str, Any]:
    """A parameter `labels` is aligned with the tokens; targets of another name are shifted by one."""
    name = next((name for name in TARGETS if name in parameters), None)
    if name is None:
        return {}
    for ignore_index in IGNORE_INDICES:
        targets = tokens.clone()
        targets[:, -1] = ignore_index
        try:
            outputs.extract_loss(model(tokens, **{name: targets}))
        except Exception:  # the loss does not ignore this label: try the next
            continue
        return {"loss": partial(_loss_of_labels if name == "labels" else _loss_of_targets, name, ignore_index)}
    return {}


def _loss_of_labels(name: str, ignore_index: int, model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    return outputs.extract_loss(model(tokens, **{name: labels.masked_fill(labels == -100, ignore_index)}))


def _loss_of_targets(name: str, ignore_index: int, model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:].masked_fill(labels[:, 1:] == -100, ignore_index)
    return outputs.extract_loss(model(tokens[:, :-1], **{name: targets}))


def _step(model: Any, parameters: Any, tokens: Tensor) -> dict[str, Any]:
    """A cache that the model takes under a common name and returns beside its logits."""
    name = next((name for name in CACHES if name in parameters), None)
    if name is None or len(signature.required(parameters)) > 1:
        return {}
    options = {"use_cache": True} if "use_cache" in parameters else {}

    def step(model: Any, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
        out = model(tokens, **{name: cache}, **options)
        return out, outputs.extract_cache(out)

    try:
        _, cache = step(model, tokens, None)
    except Exception:  # the parameter is no cache of this form
        return {}
    return {} if cache is None else {"step": step}
