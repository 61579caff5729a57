"""How a model like those of transformers is called, stepped, padded and trained: what its signature takes is passed."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import introspection, outputs
from clearformer.checks.subject import Kind


def taken(model: Any, **possible: Any) -> dict[str, Any]:
    return {name: value for name, value in possible.items() if name in introspection.parameters(model)}


def call(model: Any, tokens: Tensor) -> Any:
    return model(input_ids=tokens)


def call_pair(model: Any, source: Tensor, tokens: Tensor) -> Any:
    return model(input_ids=source, decoder_input_ids=tokens)


def padded(model: Any, tokens: Tensor, real: Tensor) -> Any:
    return model(input_ids=tokens, **masked(model, real, tokens.shape[1]))


def padded_pair(model: Any, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor) -> Any:
    masks = taken(model, attention_mask=source_real.long(), decoder_attention_mask=real.long())
    return model(input_ids=source, decoder_input_ids=tokens, **masks)


def masked(model: Any, real: Tensor, new: int) -> dict[str, Any]:
    """The mask of all tokens so far; with padding on the left also where the last `new` of them stand."""
    if real[:, 0].all():
        return {"attention_mask": real.long()}
    positions = (real.long().cumsum(-1) - 1).clamp(min=0) + first_position(model)
    return taken(model, attention_mask=real.long(), position_ids=positions[:, -new:])


def first_position(model: nn.Module) -> int:
    """RoBERTa and its like count positions from behind the padding token on."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def cached(model: Any, kind: Kind, takes: dict[str, inspect.Parameter], left: bool) -> dict[str, Any]:
    """How to step, if a trial gives a cache back; `left`: whether it can be told of padding on the left."""
    if kind not in ("causal", "encoder-decoder") or "past_key_values" not in takes:
        return {}
    functions: dict[str, Any] = {"step": step_pair} if kind == "encoder-decoder" else {"step": step}
    if kind == "causal" and left and "attention_mask" in takes:
        functions["prefill"] = prefill
    tokens = introspection.few_tokens()
    try:
        _, cache = step_pair(model, tokens, tokens, None) if kind == "encoder-decoder" else step(model, tokens, None)
    except Exception:  # what is wrong with it is for the checks to tell
        return functions
    return {} if cache[0] is None else functions


def step(model: Any, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
    """The cache is (what the model keeps, which of all tokens so far are real, or None for all)."""
    past, real = cache or (None, None)
    if real is not None:
        real = torch.cat((real, torch.ones_like(tokens, dtype=torch.bool)), dim=1)
    return run(model, tokens, past, real)


def prefill(model: Any, tokens: Tensor, real: Tensor) -> tuple[Any, Any]:
    return run(model, tokens, None, real)


def run(model: Any, tokens: Tensor, past: Any, real: Tensor | None) -> tuple[Any, Any]:
    given = {} if real is None else masked(model, real, tokens.shape[1])
    out = model(input_ids=tokens, past_key_values=past, **given, **taken(model, use_cache=True))
    return out, (outputs.extract_cache(out), real)


def step_pair(model: Any, source: Tensor, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
    """The cache is (what the model keeps, the encoder's output)."""
    past, memory = cache or (None, None)
    given = taken(model, use_cache=True)
    if memory is not None:
        given |= taken(model, encoder_outputs=(memory,))
    out = model(input_ids=source, decoder_input_ids=tokens, past_key_values=past, **given)
    return out, (outputs.extract_cache(out), getattr(out, "encoder_last_hidden_state", None))


def loss(model: Any, tokens: Tensor, labels: Tensor, **more: Any) -> Any:
    return outputs.extract_loss(model(input_ids=tokens, labels=labels, **more))


def loss_pair(model: Any, source: Tensor, labels: Tensor) -> Any:
    return outputs.extract_loss(model(input_ids=source, labels=labels))


def counts(model: Any, kind: Kind) -> bool:
    """Whether its loss is told how many tokens all batches have, by transformers' own rule."""
    takes = inspect.signature(model.forward).parameters.values() if hasattr(model, "forward") else ()
    return (
        kind in ("causal", "bidirectional")
        and hasattr(model, "loss_function")
        and any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes)
    )


def accumulate(model: Any, batches: Sequence[tuple[Tensor, Tensor]], first: int) -> None:
    """Each batch's loss is divided by the number of tokens in all of them; labels count from `first` on."""
    count = sum(int((labels[:, first:] != -100).sum()) for _, labels in batches)
    for tokens, labels in batches:
        loss(model, tokens, labels, num_items_in_batch=count).backward()
