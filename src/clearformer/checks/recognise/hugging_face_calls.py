"""How a model with the interface of transformers is called, padded, stepped and trained.

Only arguments that its signature has are passed.
"""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import outputs, signature, trial
from clearformer.checks.recognise.experiment import same
from clearformer.checks.subject import Kind


def accepted(model: Any, **arguments: Any) -> dict[str, Any]:
    """The arguments that the model's call takes."""
    parameters = signature.parameters(model)
    return {name: value for name, value in arguments.items() if name in parameters}


def call(model: Any, tokens: Tensor) -> Any:
    return model(input_ids=tokens)


def call_pair(model: Any, source: Tensor, tokens: Tensor) -> Any:
    return model(input_ids=source, decoder_input_ids=tokens)


def padded(model: Any, tokens: Tensor, real: Tensor) -> Any:
    return model(input_ids=tokens, **mask_arguments(model, real, tokens.shape[1]))


def padded_by_mask(model: Any, tokens: Tensor, real: Tensor) -> Any:
    """For a model that counts positions itself."""
    return model(input_ids=tokens, attention_mask=real.long())


def padded_pair(model: Any, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor) -> Any:
    masks = accepted(model, attention_mask=source_real.long(), decoder_attention_mask=real.long())
    return model(input_ids=source, decoder_input_ids=tokens, **masks)


def counts_itself(model: Any) -> bool:
    """Whether the model counts positions by its mask, so that it need not be told them where padding is on the left."""
    tokens = trial.sample_tokens()
    real = torch.arange(tokens.shape[1]).expand(tokens.shape) >= 3
    try:
        alone = outputs.extract_logits(model(input_ids=tokens[:, 3:]))
        padded = outputs.extract_logits(model(input_ids=tokens, attention_mask=real.long()))[:, 3:]
    except Exception:  # the checks will say what is wrong
        return False
    return same(padded, alone)


def mask_arguments(model: Any, real: Tensor, new: int) -> dict[str, Any]:
    """The mask of all tokens so far; with padding on the left also the positions of the last `new` of them."""
    if real[:, 0].all():
        return {"attention_mask": real.long()}
    positions = (real.long().cumsum(-1) - 1).clamp(min=0) + first_position(model)
    return accepted(model, attention_mask=real.long(), position_ids=positions[:, -new:])


def first_position(model: nn.Module) -> int:
    """RoBERTa and its relatives count positions from one after the padding token's id."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def cache_fields(
    model: Any, kind: Kind, parameters: dict[str, inspect.Parameter], left: bool, by_mask: bool
) -> dict[str, Any]:
    """`step` and `prefill` of Subject, if a trial returns a cache.

    `left`: padding on the left is supported; `by_mask`: the model counts positions by its mask itself.
    """
    if kind not in ("causal", "encoder-decoder") or not set(outputs.CACHES) & set(parameters):
        return {}
    functions: dict[str, Any] = {"step": step_pair} if kind == "encoder-decoder" else {"step": step}
    if kind == "causal" and left and "attention_mask" in parameters:
        functions["prefill"] = partial(prefill, positions=not by_mask)
    tokens = trial.sample_tokens()
    try:
        _, cache = step_pair(model, tokens, tokens, None) if kind == "encoder-decoder" else step(model, tokens, None)
    except Exception:  # the checks will say what is wrong
        return functions
    return {} if cache[0] is None else functions


def step(model: Any, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
    """The cache is (past_key_values, real [B, tokens so far], or None without padding, whether to give positions)."""
    past, real, positions = cache or (None, None, True)
    if real is not None:
        real = torch.cat((real, torch.ones_like(tokens, dtype=torch.bool)), dim=1)
    return run(model, tokens, past, real, positions)


def prefill(model: Any, tokens: Tensor, real: Tensor, positions: bool) -> tuple[Any, Any]:
    return run(model, tokens, None, real, positions)


def run(model: Any, tokens: Tensor, past: Any, real: Tensor | None, positions: bool) -> tuple[Any, Any]:
    masks: dict[str, Any] = {}
    if real is not None:
        masks = mask_arguments(model, real, tokens.shape[1]) if positions else {"attention_mask": real.long()}
    caches = accepted(model, use_cache=True, **dict.fromkeys(outputs.CACHES, past))
    out = model(input_ids=tokens, **masks, **caches)
    return out, (outputs.extract_cache(out), real, positions)


def step_pair(model: Any, source: Tensor, tokens: Tensor, cache: Any) -> tuple[Any, Any]:
    """The cache is (past_key_values, the encoder's output)."""
    past, memory = cache or (None, None)
    options = accepted(model, use_cache=True)
    if memory is not None:
        options |= accepted(model, encoder_outputs=(memory,))
    out = model(input_ids=source, decoder_input_ids=tokens, past_key_values=past, **options)
    return out, (outputs.extract_cache(out), getattr(out, "encoder_last_hidden_state", None))


def loss(model: Any, tokens: Tensor, labels: Tensor, **options: Any) -> Any:
    return outputs.extract_loss(model(input_ids=tokens, labels=labels, **options))


def loss_pair(model: Any, source: Tensor, labels: Tensor) -> Any:
    return outputs.extract_loss(model(input_ids=source, labels=labels))


def accepts_token_count(model: Any, kind: Kind) -> bool:
    """Whether the loss takes `num_items_in_batch`, the number of tokens in all batches, by transformers' own rule."""
    parameters = inspect.signature(model.forward).parameters.values() if hasattr(model, "forward") else ()
    return (
        kind in ("causal", "bidirectional")
        and hasattr(model, "loss_function")
        and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    )


def accumulate(model: Any, batches: Sequence[tuple[Tensor, Tensor]], first: int) -> None:
    """Divide each batch's summed loss by the number of tokens in all; labels before `first` are not predicted."""
    count = sum(int((labels[:, first:] != -100).sum()) for _, labels in batches)
    for tokens, labels in batches:
        loss(model, tokens, labels, num_items_in_batch=count).backward()
