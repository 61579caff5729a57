"""What else a plain model takes besides tokens: padding, targets, a cache."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from clearformer.checks.recognise import introspection, outputs, plain_masks
from clearformer.checks.recognise.plain_masks import Masked
from clearformer.checks.subject import Kind

TARGETS = ("targets", "target", "y", "labels")
IGNORE_INDEX = (-1, -100)
"""what a loss may leave out: nanoGPT's habit, and PyTorch's"""
CACHES = ("past_key_values", "kv_cache", "cache", "past_kvs", "past_kv", "past")

Call = Callable[[Any, Tensor], Any]


def found(model: Any, kind: Kind, call: Call, masked: Masked | None, tokens: Tensor) -> dict[str, Any]:
    """The fields of Subject about them. `masked` is the call with a mask, if there must be one."""
    extras = _padded(model, kind, call, masked, tokens)
    takes = introspection.parameters(model)
    return extras | (_loss(model, takes, tokens) | _step(model, takes, tokens) if kind == "causal" else {})


def _padded(model: Any, kind: Kind, call: Call, masked: Masked | None, tokens: Tensor) -> dict[str, Any]:
    """By the mask that hides padding; else by the padding token; else, in a causal model, without a word."""
    pad = introspection.declared(model, introspection.PADS)
    extras: dict[str, Any] = {} if pad is None else {"pad": pad, "reserved": (pad,)}
    takes = introspection.parameters(model)
    names = [name for name in plain_masks.NAMES_OF_PADDING if name in takes] if masked is None else []
    found = [plain_masks.find(model, name, kind, tokens, (False,)) for name in names]
    ways = [way for way in (masked, *found) if way is not None and way.tells_of_padding]
    for way in ways:
        if way is masked or way.name == "attention_mask" or way.is_understood(model, tokens, kind):
            return extras | {"padded": way}
    if pad is not None and not tokens.is_floating_point():
        return extras | {"padded": lambda model, tokens, real: call(model, tokens.masked_fill(~real, pad))}
    return extras | ({"padded": lambda model, tokens, _real: call(model, tokens)} if kind == "causal" else {})


def _loss(model: Any, takes: Any, tokens: Tensor) -> dict[str, Any]:
    """`labels` stand where the tokens stand; targets of another name are one place further on."""
    name = next((name for name in TARGETS if name in takes), None)
    if name is None:
        return {}
    for ignored in IGNORE_INDEX:
        targets = tokens.clone()
        targets[:, -1] = ignored
        try:
            outputs.extract_loss(model(tokens, **{name: targets}))
        except Exception:  # the loss does not leave this number out: the next is tried
            continue
        return {"loss": partial(_given_labels if name == "labels" else _given_targets, name, ignored)}
    return {}


def _given_labels(name: str, ignored: int, model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    return outputs.extract_loss(model(tokens, **{name: labels.masked_fill(labels == -100, ignored)}))


def _given_targets(name: str, ignored: int, model: Any, tokens: Tensor, labels: Tensor) -> Tensor:
    targets = labels[:, 1:].masked_fill(labels[:, 1:] == -100, ignored)
    return outputs.extract_loss(model(tokens[:, :-1], **{name: targets}))


def _step(model: Any, takes: Any, tokens: Tensor) -> dict[str, Any]:
    """A cache that the model takes under a usual name and gives back beside its logits."""
    name = next((name for name in CACHES if name in takes), None)
    if name is None or len(introspection.required(takes)) > 1:
        return {}
    more = {"use_cache": True} if "use_cache" in takes else {}

    def step(model: Any, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
        out = model(tokens, **{name: cache}, **more)
        return out, outputs.extract_cache(out)

    try:
        _, cache = step(model, tokens, None)
    except Exception:  # it cannot be used so
        return {}
    return {} if cache is None else {"step": step}
